"""One encoder's vectors of some parts, found again by the key that the caller knows each part by."""

from __future__ import annotations

import functools
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np

from moderation.decision import Timing
from moderation.embedding.embedder import Embeds
from moderation.encoder.base import Vectors
from moderation.errors import ItemError
from moderation.item import Modality, Part

Key = TypeVar("Key", bound=Hashable)


class KeyedVectors(Generic[Key]):
    """What an embedder made of parts: their vectors, and why a part has none."""

    def __init__(self, embedder: Embeds, parts: Mapping[Key, Part]) -> None:
        self.fingerprint = str(embedder.encoder.fingerprint)
        fit = {key: part for key, part in parts.items() if not part.unread}  # of the others there is no content
        self._parts = parts
        self._rows = {key: row for row, key in enumerate(fit)}
        self._embedded = embedder.embed(tuple(fit.values()))
        self._hits: list[bool] = self._embedded.hits.tolist()

    @property
    def decode_seconds(self) -> float:
        """Seconds spent on decoding pictures."""
        return self._embedded.decode_seconds

    @property
    def encode_seconds(self) -> float:
        """Seconds spent in the towers."""
        return self._embedded.encode_seconds

    def __contains__(self, key: Key) -> bool:
        """Whether this part was embedded, or should have been."""
        return key in self._rows

    def fault(self, key: Key) -> ItemError | None:
        """Why a part has no vector; None when it has one."""
        row = self._rows.get(key)
        return self._parts[key].unread if row is None else self._embedded.errors.get(row)

    def hit(self, key: Key) -> bool:
        """Whether the vector came from the cache."""
        return self._hits[self._rows[key]]

    def take(self, keys: Sequence[Key]) -> Vectors:
        """The vectors of parts without a fault, float16 [n, d], in the order of the keys."""
        return self._embedded.vectors[np.array([self._rows[key] for key in keys], np.intp)]


def spent(vectors: Collection[KeyedVectors[Key]], detect: float) -> Timing:
    """The seconds that these took to make, and that it took to detect by them."""
    return Timing(
        decode=sum(one.decode_seconds for one in vectors),
        encode=sum(one.encode_seconds for one in vectors),
        detect=detect,
    )


def origin(parts: Iterable[tuple[Key, Part]], vectors: Collection[KeyedVectors[Key]]) -> tuple[Mapping[str, str], bool]:
    """By modality, the fingerprints of the encoders that embedded these parts; and whether all of it came from the cache."""
    used = [(part.modality, own.fingerprint, own.hit(key)) for key, part in parts for own in vectors if key in own]
    named = frozenset([(modality, fingerprint) for modality, fingerprint, _ in used])
    return _by_modality(named), bool(used) and all(hit for _, _, hit in used)


@functools.lru_cache(maxsize=256)  # nearly always the same for every item of a stream
def _by_modality(named: frozenset[tuple[Modality, str]]) -> Mapping[str, str]:
    names = {modality: sorted(one for other, one in named if other is modality) for modality, _ in sorted(named)}
    return MappingProxyType({modality.value: " ".join(ones) for modality, ones in names.items()})
