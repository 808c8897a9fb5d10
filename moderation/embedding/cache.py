"""How vectors are remembered: the key, the value's format, and a cache in memory.

A key names everything that could change a vector; a value proves that it is whole. Nothing but vectors is kept.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

import crc32c
import numpy as np
from numpy.typing import NDArray

from moderation.encoder.base import Fingerprint, Vectors
from moderation.item import Modality

_FORMAT = "mv1 f16"
_BYTES_PER_VALUE = 2
_NORM_TOLERANCE = 0.01
# What Python keeps for an entry beside its key and value: two objects' headers and a place in the table.
_ENTRY_OVERHEAD = 250


def cache_key(*, prefix: str, tenant: str, fingerprint: Fingerprint, modality: Modality, digest: str) -> str:
    """prefix/tenant/identity/numeric/modality/digest; separators inside a part are escaped, so no two keys collide."""
    return f"{_stem(prefix, tenant, fingerprint, modality)}/{digest if digest.isascii() and digest.isalnum() else _escaped(digest)}"


@functools.lru_cache(maxsize=64)  # the same for every item of a stream, and escaping it took a tenth of a decision
def _stem(prefix: str, tenant: str, fingerprint: Fingerprint, modality: Modality) -> str:
    return "/".join(map(_escaped, (prefix, tenant, fingerprint.identity, fingerprint.numeric, modality.value)))


def _escaped(part: str) -> str:
    return quote(part.encode("utf-8", "surrogatepass"), safe="")


def pack(vectors: Vectors) -> list[bytes]:
    """Each of vectors [n, width] as one header line (format, dtype, width, CRC-32C of both) and little-endian float16 values."""
    size, held = _BYTES_PER_VALUE * vectors.shape[1], vectors.astype("<f2").tobytes()
    rows = (held[start : start + size] for start in range(0, len(held), size))
    return [_header(values) + values for values in rows]


def unpack(values: Sequence[bytes], width: int) -> tuple[Vectors, NDArray[np.bool_]]:
    """The vectors [n, width] in values, and which of them are sound [n]: length, checksum, finiteness and norm are right. The others are zero."""
    size = _BYTES_PER_VALUE * width
    whole = np.array([_is_whole(value, size) for value in values], np.bool_)
    vectors = np.zeros((len(values), width), np.float16)
    held = b"".join(value[-size:] for value, right in zip(values, whole.tolist(), strict=True) if right)
    vectors[whole] = np.frombuffer(held, "<f2").reshape(-1, width)
    sound = are_sound(vectors)
    vectors[~sound] = 0
    return vectors, sound


def are_sound(vectors: Vectors) -> NDArray[np.bool_]:
    """Which vectors [n, width] are finite and of norm 1 [n]: no reader takes others."""
    exact = vectors.astype(np.float32)
    squares: NDArray[np.float32] = np.einsum("nd,nd->n", exact, exact)
    return np.abs(squares - 1) < 2 * _NORM_TOLERANCE  # False for NaN and infinity


def _is_whole(value: bytes, size: int) -> bool:
    """The header is a function of the values, so that comparing it checks all of it."""
    return len(value) > size and value[:-size] == _header(value[-size:])


def _header(values: bytes) -> bytes:
    head, checksum = _head(len(values))
    return b"%s%08x\n" % (head, crc32c.crc32c(values, checksum))


@functools.lru_cache(maxsize=64)
def _head(size: int) -> tuple[bytes, int]:
    """What comes before the checksum, and that of it alone."""
    head = f"{_FORMAT} {size // _BYTES_PER_VALUE} ".encode()
    return head, crc32c.crc32c(head)


class EmbeddingCache(Protocol):
    """Where packed vectors are kept. A cache that is away answers None and keeps nothing: slower, never wrong."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, None where there is none."""
        ...

    def put_many(self, values: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Keep values whose keys are new. Returns what now stands for each key: the first writer's value wins."""
        ...

    def drop_many(self, keys: Iterable[str]) -> None:
        """Forget keys: damaged values, and content that must be erased."""
        ...


class MemoryCache:
    """A cache in this process's memory, at most `max_bytes`, the least recently used value leaving first."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._values: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def size(self) -> int:
        """Bytes in use, keys and overhead included."""
        return self._bytes

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, None where there is none."""
        with self._lock:
            return [self._get(key) for key in keys]

    def put_many(self, values: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Keep values whose keys are new; returns what stands for each key now, even if it was too large to keep."""
        with self._lock:
            return {key: self._put(key, value) for key, value in values.items()}

    def drop_many(self, keys: Iterable[str]) -> None:
        """Forget keys; those not there are no error."""
        with self._lock:
            for key in keys:
                self._drop(key)

    def _get(self, key: str) -> bytes | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def _put(self, key: str, value: bytes) -> bytes:
        first = self._get(key)
        if first is not None:
            return first
        self._values[key] = value
        self._bytes += _cost(key, value)
        while self._bytes > self.max_bytes:
            self._drop(next(iter(self._values)))
        return value

    def _drop(self, key: str) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._bytes -= _cost(key, value)


class TieredCache:
    """A cache near at hand before one far away: what comes from afar is kept near."""

    def __init__(self, near: EmbeddingCache, far: EmbeddingCache) -> None:
        self.near, self.far = near, far

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The value of each key, None where neither has one."""
        found = dict(zip(keys, self.near.get_many(keys), strict=True))
        missing = [key for key, value in found.items() if value is None]
        if missing:
            fetched = {
                key: value for key, value in zip(missing, self.far.get_many(missing), strict=True) if value is not None
            }
            found |= self.near.put_many(fetched)
        return [found[key] for key in keys]

    def put_many(self, values: Mapping[str, bytes]) -> Mapping[str, bytes]:
        """Keep values whose keys are new; the first writer's value is what stands afar, for every worker."""
        return self.near.put_many(self.far.put_many(values))

    def drop_many(self, keys: Iterable[str]) -> None:
        """Forget keys in both; another process's near cache is its own."""
        keys = list(keys)
        self.near.drop_many(keys)
        self.far.drop_many(keys)


def _cost(key: str, value: bytes) -> int:
    return len(key) + len(value) + _ENTRY_OVERHEAD
