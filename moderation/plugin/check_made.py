"""Encoders and fetchers, tried as the settings make them: shown good content and hostile, and asked twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from moderation.detector.sound import is_sound, lengths
from moderation.encoder.base import Encoded, Encoder, Vectors
from moderation.errors import ItemError
from moderation.item import UNFETCHABLE, Fetcher
from moderation.plugin.samples import HOSTILE_FILES, HOSTILE_TEXTS, TEXTS, hostile_references, made_pictures

APART = 2e-3  # how far the cosine of what two batches make of one content may lie below 1


class EncoderTrial:
    """Steps of an encoder, each of which tells what went wrong, "" where nothing did; the first of them loads it."""

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load

    def life(self) -> str:
        """Load it."""
        encoder = self._load()
        sides: dict[str, tuple[Callable[[Any], Encoded], Sequence[Any], Sequence[Any]]] = {
            "image": (encoder.encode_images, made_pictures(3), HOSTILE_FILES),
            "text": (encoder.encode_text, TEXTS, HOSTILE_TEXTS),
        }
        self._sides = [sides[one] for one in encoder.card.modalities]
        self._width = encoder.card.width
        return ""

    def shape(self) -> str:
        """A float16 vector of length 1 for each content."""
        return self._first(lambda encode, good, _: self._ill(encode(good), len(good)))

    def determinism(self) -> str:
        """The same vectors twice, and in another order."""
        return self._first(lambda encode, good, _: self._differ(encode(good), encode(good[::-1]).vectors[::-1]))

    def failure(self) -> str:
        """What is hostile is an error of its own row."""
        return self._first(
            lambda encode, good, hostile: self._beside(encode(good), encode([*hostile, *good]), len(hostile))
        )

    def _first(self, trial: Callable[[Callable[[Any], Encoded], Sequence[Any], Sequence[Any]], str]) -> str:
        return next(filter(None, (trial(*side) for side in self._sides)), "")

    def _ill(self, found: Encoded, count: int) -> str:
        vectors = found.vectors
        if vectors.dtype != np.float16 or vectors.shape != (count, self._width):
            return f"vectors are {vectors.dtype} {vectors.shape}; expected float16 {(count, self._width)}"
        if found.errors:
            return f"errors of rows {sorted(found.errors)} of good content"
        return "" if is_sound(lengths(vectors)).all() else "vectors are not of length 1"

    def _differ(self, one: Encoded, other: Vectors) -> str:
        cosines = (one.vectors.astype(np.float64) * other.astype(np.float64)).sum(axis=1)
        return "" if (cosines > 1.0 - APART).all() else "the same contents have other vectors"

    def _beside(self, alone: Encoded, mixed: Encoded, hostile: int) -> str:
        if any(row >= hostile for row in mixed.errors):
            return "a good content has an error beside hostile ones"
        fine = [row for row in range(hostile) if row not in mixed.errors]
        if not is_sound(lengths(mixed.vectors[fine])).all():
            return "a hostile content has neither an error nor a vector of length 1"
        return self._differ(alone, mixed.vectors[hostile:])


class FetcherTrial:
    """Steps of a fetcher, as above. No host is asked: what is no reference is all that it is shown."""

    def __init__(self, make: Callable[[], Fetcher], scheme: str) -> None:
        self._make, self._scheme = make, scheme

    def life(self) -> str:
        """Make it."""
        self._fetcher = self._make()
        return "" if callable(getattr(self._fetcher, "fetch", None)) else "it lacks fetch; expected a Fetcher"

    def failure(self) -> str:
        """What is no reference is refused as that."""
        return next(filter(None, map(self._got, hostile_references(self._scheme))), "")

    def _got(self, reference: str) -> str:
        try:
            self._fetcher.fetch(reference)
        except ItemError as error:
            return "" if error.reason == UNFETCHABLE else f"reason {error.reason}; expected {UNFETCHABLE}"
        return "it fetches what is no reference"
