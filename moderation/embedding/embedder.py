"""An encoder and a cache behind one call: parts in, vectors out, each content encoded once.

What comes out are the bytes that were stored, unpacked, whether they were found or have just been made: a hit and a
miss give the same vector to the last bit.
"""

from __future__ import annotations

import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from moderation.embedding.cache import EmbeddingCache, are_sound, cache_key, pack, unpack
from moderation.encoder.base import ENCODER_ERROR, Encoded, Encoder, Fingerprint, PreparesImages, Vectors
from moderation.errors import EncoderError, ItemError
from moderation.item import Modality, Part

_Key = TypeVar("_Key", str, int)
Sides = tuple[Vectors, Vectors]  # what was made of the same contents, each alone and in batches

# Any encoder of the modality can do these: one that fails on them too is itself at fault. The picture is grey, 32 x 32.
_KNOWN = {
    Modality.TEXT: Part.text("a photo"),
    Modality.IMAGE: Part.image(
        b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKElEQVR42u3NQQEAAAQEMCS/6Erw2wqsk9SnqWcCgUAgEAgEAoHgygK+PQHAs0oJIwAAAABJRU5ErkJggg=="
        )
    ),
}


@dataclass(frozen=True, slots=True)
class Embedded:
    """A batch's vectors, float16 [n, d]; `errors` says which rows have none and why (they are zero).

    `hits` [n] says which rows came from the cache. `decode_seconds` is the time the encoder stood still for pictures
    to be decoded, `encode_seconds` the rest of the time it took.
    """

    vectors: Vectors
    errors: Mapping[int, ItemError]
    hits: NDArray[np.bool_]
    decode_seconds: float
    encode_seconds: float


class Embeds(Protocol):
    """What gives vectors of parts."""

    @property
    def encoder(self) -> Encoder:
        """What makes them."""
        ...

    def embed(self, parts: Sequence[Part], /) -> Embedded:
        """The vectors of parts, in order."""
        ...


@dataclass(frozen=True, slots=True)
class EmbedderStats:
    """Counts since the start: parts found in the cache and not, and values that were there but damaged."""

    hits: int = 0
    misses: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class Encoding:
    """What encoding the missing keys gave: float16 [d] and the `values` they are kept as, or why there is none."""

    vectors: Mapping[str, Vectors]
    values: Mapping[str, bytes]
    errors: Mapping[str, ItemError]
    decode_seconds: float
    encode_seconds: float


class Embedder:
    """Vectors of parts by one encoder, remembered in a cache. Safe to call from several threads.

    `tried` keeps what the encoder made of made contents, for whoever asks how far a batch moves its vectors.
    """

    def __init__(
        self, encoder: Encoder, cache: EmbeddingCache, *, tenant: str = "default", prefix: str = "emb"
    ) -> None:
        self.encoder = encoder
        self.cache = cache
        self.tenant, self.prefix = tenant, prefix
        self.tried: dict[Modality, Sequence[Sides]] = {}
        self._prepares = encoder if isinstance(encoder, PreparesImages) else None  # asked once: it takes long
        self._hits = self._misses = self._damaged = 0
        self._lock = threading.Lock()

    @property
    def stats(self) -> EmbedderStats:
        """The counters as they stand."""
        return EmbedderStats(self._hits, self._misses, self._damaged)

    def embed(self, parts: Sequence[Part]) -> Embedded:
        """The vectors of parts, in order; content that stands in the batch twice is encoded once.

        A part of a modality the encoder does not have is an error of its row.
        """
        keys = [self.key(part) for part in parts]
        part_of = dict(zip(keys, parts, strict=True))
        found = self.look_up(list(part_of), self.cache)
        made = self.encode({key: part for key, part in part_of.items() if key not in found})
        errors = {row: made.errors[key] for row, key in enumerate(keys) if key in made.errors}
        nothing = np.zeros(self.encoder.card.width, np.float16)
        known = {**found, **self.remember(made), **dict.fromkeys(made.errors, nothing)}
        vectors = np.concatenate([nothing[:0], *(known[key] for key in keys)]).reshape(len(parts), len(nothing))
        hits = np.array([key in found for key in keys], dtype=np.bool_)
        self.count(hits=int(hits.sum()), misses=int((~hits).sum()))
        return Embedded(vectors, errors, hits, made.decode_seconds, made.encode_seconds)

    def key(self, part: Part) -> str:
        """The cache key of a part's vector, for erasure too."""
        return self._key(part, self.encoder.fingerprint)

    def refusal(self, part: Part) -> ItemError | None:
        """Why the encoder has no tower for a part's modality; None where it has one."""
        if part.modality.value in self.encoder.card.modalities:
            return None
        message = f"encoder {self.encoder.card.name!r} has no {part.modality} tower"
        missing = part.fault if part.modality is Modality.VIDEO else None  # no encoder has one for it
        return missing or ItemError("unsupported_modality", message)

    def look_up(self, keys: Sequence[str], cache: EmbeddingCache) -> dict[str, Vectors]:
        """The vectors that are kept under these keys in the cache, or in one part of it; what is damaged is forgotten."""
        stored = {key: value for key, value in zip(keys, cache.get_many(keys), strict=True) if value is not None}
        found = self._unpacked(stored)
        damaged = [key for key in stored if key not in found]
        if damaged:
            self.count(damaged=len(damaged))
            cache.drop_many(damaged)  # or the first writer's broken value would stand for ever
        return found

    def prepare(self, parts: Iterable[Part]) -> None:
        """Let the encoder begin with pictures that `encode` will be asked for soon, where it can; returns at once."""
        if self._prepares:
            pictures = [part.content for part in parts if part.modality is Modality.IMAGE]
            with suppress(Exception):  # `encode` will tell what is wrong
                self._prepares.prepare_images(pictures)

    def encode(self, missing: Mapping[str, Part]) -> Encoding:
        """Encode parts, by their keys; nothing counts before it is `remember`ed. Raises EncoderError where the encoder fails on everything."""
        began = time.perf_counter()
        values: dict[str, bytes] = {}
        made: dict[str, Vectors] = {}
        errors: dict[str, ItemError] = {}
        decode_seconds = 0.0
        by_modality: dict[Modality, dict[str, Part]] = {}
        for key, part in missing.items():
            by_modality.setdefault(part.modality, {})[key] = part
        for modality, chosen in by_modality.items():
            encoded = self._by_halves(modality, list(chosen.values()))
            decode_seconds += encoded.decode_seconds
            packed, refused = self._packed(encoded)
            self._blame(modality, refused, of=len(chosen))
            for row, key in enumerate(chosen):
                if row in refused:
                    errors[key] = refused[row]
                else:
                    values[key], made[key] = packed[row]
        return Encoding(made, values, errors, decode_seconds, time.perf_counter() - began - decode_seconds)

    def remember(self, made: Encoding) -> Mapping[str, Vectors]:
        """Keep what was encoded; gives the vectors that stand in the cache then: another worker's, where it was first and its value is whole."""
        kept = self.cache.put_many(made.values) if made.values else {}
        theirs = {key: value for key, value in kept.items() if made.values.get(key, value) != value}
        return {**made.vectors, **self._unpacked(theirs)}

    def _key(self, part: Part, fingerprint: Fingerprint) -> str:
        return cache_key(
            prefix=self.prefix,
            tenant=self.tenant,
            fingerprint=fingerprint,
            modality=part.modality,
            digest=part.digest,
        )

    def _packed(self, encoded: Encoded) -> tuple[dict[int, tuple[bytes, Vectors]], Mapping[int, ItemError]]:
        """By row the value to store and what it unpacks to, and every row's error: a vector that no reader would take is one."""
        vectors = encoded.vectors.astype(np.float16)
        sound = are_sound(vectors).tolist()
        errors = {row: _unsound() for row, whole in enumerate(sound) if not whole} | {**encoded.errors}
        packed = zip(pack(vectors), vectors, strict=True)
        return {row: one for row, one in enumerate(packed) if row not in errors}, errors

    def _blame(self, modality: Modality, errors: Mapping[int, ItemError], *, of: int) -> None:
        """Where the encoder failed on every one of a batch's parts, ask it for what it always could do.

        Raises EncoderError where it fails on that too: then no part may be judged for it.
        """
        at_fault = [error for error in errors.values() if error.reason == ENCODER_ERROR]
        if at_fault and len(at_fault) == of:
            _, known = self._packed(self._by_halves(modality, [_KNOWN[modality]]))
            if any(error.reason == ENCODER_ERROR for error in known.values()):
                raise EncoderError(f"encoder {self.encoder.card.name!r} fails on everything: {at_fault[0]}")

    def _by_halves(self, modality: Modality, parts: Sequence[Part]) -> Encoded:
        """Encode, and where the encoder raises, find by halves the parts it raises on: only they are errors."""
        try:
            return self._encode_modality(modality, parts)
        except EncoderError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a foreign encoder raises is its own fault
            if len(parts) == 1:
                # The type and no more: a message may hold content.
                told = error if isinstance(error, ItemError) else ItemError(ENCODER_ERROR, type(error).__name__)
                return _refused(1, self.encoder.card.width, told)
        middle = len(parts) // 2
        left, right = self._by_halves(modality, parts[:middle]), self._by_halves(modality, parts[middle:])
        errors = {**left.errors, **{middle + row: error for row, error in right.errors.items()}}
        vectors = np.concatenate([left.vectors, right.vectors])
        return Encoded(vectors, errors, left.decode_seconds + right.decode_seconds)

    def _encode_modality(self, modality: Modality, parts: Sequence[Part]) -> Encoded:
        refused = self.refusal(parts[0])
        if refused:
            return _refused(len(parts), self.encoder.card.width, refused)
        width = self.encoder.card.width
        if modality is Modality.IMAGE:
            encoded = self.encoder.encode_images([part.content for part in parts])
        else:
            encoded = _encode_decodable(self.encoder.encode_text, parts, width)
        if encoded.vectors.shape != (len(parts), width):
            raise ValueError(f"vectors of shape {encoded.vectors.shape} for {len(parts)} parts")
        return encoded

    def _unpacked(self, values: Mapping[_Key, bytes]) -> dict[_Key, Vectors]:
        """The vectors that are sound."""
        if not values:  # the usual case, and what is new should not pay for it
            return {}
        vectors, sound = unpack(list(values.values()), self.encoder.card.width)
        return {key: vector for key, vector, whole in zip(values, vectors, sound.tolist(), strict=True) if whole}

    def count(self, *, hits: int = 0, misses: int = 0, damaged: int = 0) -> None:
        """Add to the counters; `embed` and `look_up` do so themselves but for what is looked up by others, and made."""
        with self._lock:
            self._hits, self._misses, self._damaged = self._hits + hits, self._misses + misses, self._damaged + damaged


class Alone(Embedder):
    """Vectors of parts that were each encoded in a batch of its own, and are remembered apart from the others.

    What company a part has in a batch may move the last bits of its vector: this one hangs on the part alone.
    """

    @classmethod
    def of(cls, embedder: Embedder) -> Alone:
        """With the encoder and the cache of another."""
        return cls(embedder.encoder, embedder.cache, tenant=embedder.tenant, prefix=embedder.prefix)

    def key(self, part: Part) -> str:
        """The cache key of a part's vector, of a numeric class of its own."""
        kind = self.encoder.fingerprint
        return self._key(part, replace(kind, numeric=f"{kind.numeric}+alone"))

    def encode(self, missing: Mapping[str, Part]) -> Encoding:
        """Encode parts one by one. Raises EncoderError where the encoder fails on everything."""
        made = [super(Alone, self).encode({key: part}) for key, part in missing.items()]
        return Encoding(
            {key: vector for one in made for key, vector in one.vectors.items()},
            {key: value for one in made for key, value in one.values.items()},
            {key: error for one in made for key, error in one.errors.items()},
            sum(one.decode_seconds for one in made),
            sum(one.encode_seconds for one in made),
        )


def _encode_decodable(encode: Callable[[Sequence[str]], Encoded], parts: Sequence[Part], width: int) -> Encoded:
    """Texts that are valid UTF-8 go to the encoder; the others are errors of their rows."""
    texts: dict[int, str] = {}
    errors: dict[int, ItemError] = {}
    for row, part in enumerate(parts):
        if part.fault:
            errors[row] = part.fault
        else:
            texts[row] = part.content.decode("utf-8")
    encoded = encode(list(texts.values()))
    if not errors:
        return encoded
    vectors = np.zeros((len(parts), width), dtype=np.float16)
    for at, row in enumerate(texts):
        vectors[row] = encoded.vectors[at]
        if at in encoded.errors:
            errors[row] = encoded.errors[at]
    return Encoded(vectors, errors, encoded.decode_seconds)


def _unsound() -> ItemError:
    return ItemError(ENCODER_ERROR, "its vector is not finite and of norm 1")


def _refused(count: int, width: int, error: ItemError) -> Encoded:
    return Encoded(np.zeros((count, width), dtype=np.float16), dict.fromkeys(range(count), error))
