"""The index of known-bad lists: one file, memory-mapped, in which every hash within the match distance of a query is found.

The file is in the safetensors form, so that any tool reads it: `hashes` uint8 [n, 32] in order, `lists` uint8 [n] (to which list each
belongs), `starts` and `entries`, the tables of `bands.py`: `entries` uint32 [m, n] are the hashes in order of their key in each band,
`starts` says for each key where its entries begin. Equal lists give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moderation.errors import PluginError
from moderation_hashes.bands import MATCH_DISTANCE, Bands, bands, count_for
from moderation_hashes.lists import HashList
from moderation_hashes.pdq import BYTES

FORM = "moderation-hashes/1"
MOST_LISTS = 256

_HEADER = 8  # bytes that say how long the JSON header is
_LONGEST_HEADER = 1 << 20
_SLICE = 1 << 18  # candidates compared at once
_UNKNOWN = "0" * 64


@dataclass(frozen=True, slots=True)
class Listed:
    """One list in an index: its name, how many hashes it has, and two digests.

    `revision` stands for its set of hashes, whatever their order and tags; `digest` is the SHA-256 of the file that was imported.
    """

    name: str
    revision: str
    hashes: int
    digest: str


class Index:
    """An index file, open. Opening reads the header alone, so it is cheap; `verify` reads everything."""

    def __init__(self, path: Path) -> None:
        """Raises PluginError where the file cannot be read, is none of ours, or is not as long as it says."""
        try:
            with path.open("rb") as file:
                header, start = _read_header(path, file)
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise _wrong(path, f"cannot be read: {error.strerror}") from None
        about = header["__metadata__"]
        self.path, self.digest, self._start = path, about["digest"], start
        self.lists = tuple(Listed(**one) for one in json.loads(about["lists"]))
        if len(self._bytes) != start + max(one["data_offsets"][1] for one in header.values() if "dtype" in one):
            raise _wrong(path, "is not as long as its header says: it was cut off, or changed")
        hashes, self._lists, self._starts, self._entries = (
            self._array(header[name]) for name in ("hashes", "lists", "starts", "entries")
        )
        self._words = hashes.view(np.uint64)
        self._bands = bands(len(self._entries))

    def __len__(self) -> int:
        """Hashes, one that is on two lists counted twice."""
        return len(self._words)

    def verify(self) -> None:
        """Read all of it. Raises PluginError where it is not what was written."""
        if hashlib.sha256(memoryview(self._bytes)[self._start :]).hexdigest() != self.digest:
            raise _wrong(
                self.path, "is damaged: its digest is not the one that it was written with; import the lists again"
            )

    def near(self, bits: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Every hash within the match distance of this one: its place in the index, in order, and its distance."""
        query = np.frombuffer(bits, dtype=np.uint64)
        found = [self._within(query, places) for places in self._candidates(np.frombuffer(bits, dtype=np.uint8))]
        places, kept = np.unique(np.concatenate([one for one, _ in found]), return_index=True)
        return places, np.concatenate([distances for _, distances in found])[kept]

    def nearest(self, bits: bytes) -> Mapping[str, int]:
        """By the name of the list, the distance of its nearest hash, where that is within the match distance."""
        places, distances = self.near(bits)
        owners = self._lists[places]
        return {self.lists[one].name: int(distances[owners == one].min()) for one in np.unique(owners)}

    def _candidates(self, query: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
        """Places of hashes that may be near, in slices: those that share a key nearly, or all, where that would be more."""
        dealt = self._bands
        band = dealt.band
        key = dealt.keys(query[None])[:, 0].astype(np.int64)
        probes = dealt.first[band] + (key[band] ^ dealt.flips)
        begin = self._starts[probes].astype(np.int64)
        counts = self._starts[probes + 1] - begin
        hit = np.flatnonzero(counts)
        begin, counts, ends = begin[hit] + band[hit] * len(self), counts[hit], np.cumsum(counts[hit])
        total = int(ends[-1]) if len(ends) else 0
        if total >= len(self):
            for start in range(0, len(self), _SLICE):
                yield np.arange(start, min(start + _SLICE, len(self)))
            return
        yield self._entries.ravel()[np.repeat(begin - (ends - counts), counts) + np.arange(total)].astype(np.int64)

    def _within(
        self, query: NDArray[np.uint64], places: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ones = np.bitwise_count(self._words[places] ^ query)
        distances = ones[:, 0].astype(np.int64) + ones[:, 1] + ones[:, 2] + ones[:, 3]
        close = np.flatnonzero(distances <= MATCH_DISTANCE)
        return places[close], distances[close]

    def _array(self, about: Mapping[str, Any]) -> NDArray[Any]:
        begin, _ = about["data_offsets"]
        kind = np.dtype({"U8": np.uint8, "U32": "<u4"}[about["dtype"]])
        count = int(np.prod(about["shape"]))
        return np.frombuffer(self._bytes, dtype=kind, count=count, offset=self._start + begin).reshape(about["shape"])


def write_index(lists: Sequence[HashList], path: Path) -> tuple[Listed, ...]:
    """Write the index of these lists; one that stands there is replaced at once, and stays open for whoever uses it.

    Raises ValueError for no list, more than 256 of them, or two of one name.
    """
    names = [one.name for one in lists]
    if not 1 <= len(names) <= MOST_LISTS or len(set(names)) != len(names):
        raise ValueError(f"found {len(names)} lists; expected 1 to {MOST_LISTS}, each with a name of its own")
    ordered = sorted(lists, key=lambda one: one.name)
    listed = tuple(_listed(one) for one in ordered)
    hashes = np.concatenate([one.hashes for one in ordered])
    owners = np.repeat(np.arange(len(ordered), dtype=np.uint8), [len(one.hashes) for one in ordered])
    dealt = bands(count_for(len(hashes)))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            _write(file, _header(listed, len(hashes), dealt), _rows(hashes, owners, dealt))
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    return listed


def _listed(one: HashList) -> Listed:
    revision = hashlib.sha256(one.hashes.tobytes()).hexdigest()[:12]
    return Listed(one.name, revision, len(one.hashes), one.digest)


def _header(listed: Sequence[Listed], count: int, dealt: Bands) -> dict[str, Any]:
    """Where everything stands in the file; its digest is not known yet, but as long as it will be."""
    shapes = {
        "hashes": ("U8", [count, BYTES]),
        "starts": ("U32", [dealt.places]),
        "entries": ("U32", [len(dealt.widths), count]),
        "lists": ("U8", [count]),
    }
    about = {"form": FORM, "digest": _UNKNOWN, "lists": json.dumps([asdict(one) for one in listed])}
    header: dict[str, Any] = {"__metadata__": about}
    end = 0
    for name, (kind, shape) in shapes.items():
        begin, end = end, end + int(np.prod(shape)) * {"U8": 1, "U32": 4}[kind]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    return header


def _rows(hashes: NDArray[np.uint8], owners: NDArray[np.uint8], dealt: Bands) -> Iterator[NDArray[Any]]:
    """What stands in the file after its header, in order, band by band, so that no two tables are held at once."""
    keys = dealt.keys(hashes)
    yield hashes
    for width, of_band in zip(dealt.widths, keys, strict=True):
        counts = np.bincount(of_band, minlength=1 << width)
        yield np.concatenate([[0], np.cumsum(counts)]).astype("<u4")
    for of_band in keys:
        pairs = (of_band.astype(np.uint64) << np.uint64(32)) | np.arange(len(hashes), dtype=np.uint64)
        pairs.sort()
        yield pairs.astype("<u4")  # the lower half
    yield owners


def _write(file: Any, header: dict[str, Any], rows: Iterator[NDArray[Any]]) -> None:
    digest = hashlib.sha256()
    start = file.write(_packed(header))
    for row in rows:
        file.write(row.data)
        digest.update(row.data)
    header["__metadata__"]["digest"] = digest.hexdigest()
    file.seek(0)
    assert file.write(_packed(header)) == start
    file.flush()


def _packed(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER)
    return len(text).to_bytes(_HEADER, "little") + text


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header and where it ends. Raises PluginError where it is not one that `write_index` wrote."""
    length = int.from_bytes(file.read(_HEADER), "little")
    try:
        header = json.loads(file.read(length)) if length <= _LONGEST_HEADER else {}
        form = header["__metadata__"]["form"]
    except (ValueError, KeyError, TypeError):
        form = None
    if form != FORM:
        raise _wrong(path, f"is no index in the form {FORM}; expected a file that `moderation-hashes import` wrote")
    return header, _HEADER + length


def _wrong(path: Path, message: str) -> PluginError:
    return PluginError("hashes", f"{path} {message}")
