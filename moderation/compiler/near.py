"""Near-duplicates: pictures and texts that are copies of one another though their bytes differ, found without comparing all pairs.

A picture has a 64-bit hash, the signs of the low frequencies of its grey version (pHash, Zauner 2010), by which pairs are
found, and a thumbnail, by which they are confirmed. A text is the set of its 5-letter pieces, found by MinHash (Broder 1997)
and confirmed by their exact overlap.
"""

from __future__ import annotations

import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

from moderation.embedding.cache import MemoryCache
from moderation.encoder.images import check, decode
from moderation.errors import ItemError
from moderation.item import Modality, Part
from moderation.settings import ImageLimits

# Of the 3,140 shipped drawings no two have thumbnails that correlate so well; at 0.8 five pairs have, three of two objects.
# Copies at half the size or as JPEG of quality 30 stay above it, as do nearly all with 2 % cut off each side.
ALIKE = 0.85
OVERLAP = 0.8  # of the pieces of two texts, so that one word changed in a long text is a copy and in a short one is not
FAR = 14  # of 64 bits; unrelated pictures differ in about 32

_GREY, _FREQUENCIES, _THUMBNAIL = 32, 8, 16
_BYTES = 8
_PIECE = 5
_HASHES, _ROWS = 64, 4
_PRIME = (1 << 31) - 1
_CONFIRMED = 64  # thumbnails that are looked at together: of many copies the first tell enough
_MATES = 20  # a thousand copies make a thousand times as many pairs at most, not half a million

# Compile, certify and audit look at the same pictures one after another, and decoding them is what takes the time.
_SEEN = MemoryCache(64_000_000)

Pair = tuple[int, int]
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What a picture looks like: `bits` uint64, and `thumbnail` float32 [768], centred, of length 1 (0 where all is one colour)."""

    bits: np.uint64
    thumbnail: NDArray[np.float32]


def near_duplicates(parts: Iterable[Part], *, limits: ImageLimits) -> list[Pair]:
    """Pairs of places in `parts` whose content is nearly the same, each once, in order; what cannot be read is like nothing.

    Where very many are alike, each is paired with some of the earliest only. Of each part only its signature is kept, so that `parts` may be read one at a time.
    """
    pictures: dict[int, Signature] = {}
    texts: dict[int, frozenset[int]] = {}
    for place, part in enumerate(parts):
        if part.modality is Modality.TEXT:
            texts[place] = pieces(part.content.decode("utf-8", "replace"))
        else:
            with suppress(ItemError):
                seen = _remembered(part, limits)
                if seen.thumbnail.any():  # what is all one colour is like nothing
                    pictures[place] = seen
    return sorted([*_named(pictures, _near_pictures), *_named(texts, _near_texts)])


def _remembered(part: Part, limits: ImageLimits) -> Signature:
    """The signature of a picture, or that of the same bytes seen before. Raises ItemError for what cannot be read."""
    check(part.content, limits)
    (known,) = _SEEN.get_many([part.digest])
    if known is None:
        made = signature(decode(part.content, limits))
        _SEEN.put_many({part.digest: made.bits.tobytes() + made.thumbnail.tobytes()})
        return made
    return Signature(np.frombuffer(known, np.uint64, 1)[0], np.frombuffer(known, np.float32, offset=8))


def signature(picture: Image.Image) -> Signature:
    """A picture's signature; copies that were compressed, resized or slightly cropped have one that is close."""
    grey = np.asarray(picture.convert("L").resize((_GREY, _GREY), Image.Resampling.BOX), np.float32)
    low = dctn(grey, norm="ortho")[:_FREQUENCIES, :_FREQUENCIES].ravel()[1:]
    bits = np.packbits(np.append(low > np.median(low), False)).view(np.uint64)[0]
    small = picture.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX)
    thumbnail = np.asarray(small, np.float32).ravel()
    thumbnail = thumbnail - thumbnail.mean()
    length = float(np.linalg.norm(thumbnail))
    return Signature(bits, thumbnail / length if length > 1.0 else np.zeros_like(thumbnail))


def pieces(text: str) -> frozenset[int]:
    """Hashes of all 5-letter pieces of a text, letter case, punctuation and spacing left out; a shorter text is one piece."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    joined = " ".join(words) or plain
    count = max(len(joined) - _PIECE + 1, 1)
    return frozenset(zlib.crc32(joined[at : at + _PIECE].encode()) for at in range(count))


def _named(found: dict[int, Kind], near: Callable[[Sequence[Kind]], Iterator[Pair]]) -> Iterator[Pair]:
    places = list(found)
    yield from ((places[one], places[other]) for one, other in near(list(found.values())))


def _near_pictures(found: Sequence[Signature]) -> Iterator[Pair]:
    """Two hashes that differ in fewer bits than they have bytes share a byte; most that differ in up to FAR do."""
    if len(found) < 2:
        return
    bits = np.array([one.bits for one in found], np.uint64)
    thumbnails = np.stack([one.thumbnail for one in found])
    for other, earlier in _sharing_a_byte(bits):
        likely = earlier[np.bitwise_count(bits[earlier] ^ bits[other]) <= FAR]
        near: list[int] = []
        for start in range(0, len(likely), _CONFIRMED):
            if len(near) >= _MATES:
                break
            some = likely[start : start + _CONFIRMED]
            near += some[thumbnails[some] @ thumbnails[other] >= ALIKE].tolist()
        yield from ((one, other) for one in near[:_MATES])


def _sharing_a_byte(bits: NDArray[np.uint64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each place with the earlier ones whose hash has a byte of its own at the same position, each pair once."""
    columns = bits[:, None].view(np.uint8)
    buckets = [[np.nonzero(column == value)[0] for value in range(256)] for column in columns.T]
    for other, values in enumerate(columns):
        mates = [buckets[position][values[position]] for position in range(_BYTES)]
        sharing = np.concatenate([own[: np.searchsorted(own, other)] for own in mates])
        # Of many that are alike nearly all, several times: to mark them is quicker than to sort.
        if len(sharing) > other:
            marked = np.zeros(other, np.bool_)
            marked[sharing] = True
            earlier = np.flatnonzero(marked)
        else:
            earlier = np.unique(sharing)
        if len(earlier):
            yield other, earlier


def _near_texts(found: Sequence[frozenset[int]]) -> Iterator[Pair]:
    rng = np.random.default_rng(0)
    factors, offsets = rng.integers(1, _PRIME, (2, _HASHES, 1), dtype=np.uint64)
    least = [((factors * (np.array(list(one), np.uint64) % _PRIME) + offsets) % _PRIME).min(axis=1) for one in found]
    buckets: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    seen: set[Pair] = set()
    for other, own in enumerate(least):
        for band in range(0, _HASHES, _ROWS):
            bucket = buckets[band, own[band : band + _ROWS].tobytes()]
            seen.update((one, other) for one in bucket)
            if len(bucket) < _MATES:
                bucket.append(other)
    for one, other in seen:
        shorter, longer = sorted((len(found[one]), len(found[other])))
        if shorter < OVERLAP * longer:
            continue
        common = len(found[one] & found[other])
        if common >= OVERLAP * (shorter + longer - common):
            yield one, other
