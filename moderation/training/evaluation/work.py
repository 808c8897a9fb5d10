"""What the measures of one evaluation share: the request, the vectors that several need, and why one is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moderation.encoder.base import Encoder, Vectors
from moderation.errors import TrainingError
from moderation.settings import ImageLimits
from moderation.training.evaluation.picture_set import Picture, PictureSet
from moderation.training.evaluation.ranking import Floats, similarities
from moderation.training.evaluation.sugarcrepe import Pair as CrepePair
from moderation.training.evaluation.vectors import Advance, Captioned, encode_captioned, encode_pictures, read
from moderation.training.evaluation.zero_shot import CLIP_SEVEN, class_vectors, hits
from moderation.training.pairs import Pairs

SEED = 7
Progress = Callable[[str, int], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure, and on what: every figure is a function of this and the encoder.

    `pictures` have labels, `pairs` have captions, `shifts` are other sets of the labels of `pictures`. `only` names measures, all
    where empty. Corruptions, styles and grounds are measured on `sample` pictures. `scale` is the softmax's.
    """

    pictures: PictureSet | None = None
    pairs: Pairs | None = None
    shifts: Mapping[str, PictureSet] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    sample: int = 200
    seed: int = SEED
    scale: float | None = None
    templates: Sequence[str] = CLIP_SEVEN
    sugarcrepe: Mapping[str, Sequence[CrepePair]] = field(default_factory=dict)
    coco: Path | None = None
    limits: ImageLimits = field(default_factory=ImageLimits)


class NotMeasuredError(Exception):
    """A measure lacks what it needs; the message says what. It never leaves `evaluate`."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The pictures of a set that could be decoded: vectors float16 [n, d], rows of the classes [n], clusters."""

    set: PictureSet
    vectors: Vectors
    labels: NDArray[np.int64]
    clusters: tuple[str, ...]
    left_out: int


class Work:
    """What measures share, each made when the first of them needs it."""

    def __init__(self, encoder: Encoder, request: Request, progress: Progress) -> None:
        self.encoder, self.request, self.progress = encoder, request, progress
        self.missing: dict[str, str] = {}
        self.classes = request.pictures.classes if request.pictures else ()
        for name, other in request.shifts.items():
            if unknown := sorted(set(other.classes) - set(self.classes)):
                found, expected = ", ".join(map(repr, unknown[:5])), ", ".join(self.classes[:10])
                raise TrainingError(
                    f"shift {name!r}: found labels {found}; expected those of the set: {expected or 'no set'}"
                )

    @cached_property
    def labelled(self) -> Labelled:
        """The labelled set."""
        if self.request.pictures is None:
            raise NotMeasuredError("no labelled set was given")
        if len(self.classes) < 2:
            raise NotMeasuredError(f"the set has one class, {self.classes[0]!r}; expected at least 2")
        return self.classified(self.request.pictures)

    @cached_property
    def captioned(self) -> Captioned:
        """The captioned set."""
        self.need_text()
        pairs = self.request.pairs
        if pairs is None:
            raise NotMeasuredError("no captioned set was given")
        with self.progress("encoding pictures with captions", len(pairs)) as advance:
            found = encode_captioned(self.encoder, pairs, advance)
        if len(found.images) < 2:
            raise NotMeasuredError(f"{len(found.images)} of {len(pairs)} pairs could be encoded; expected at least 2")
        return found

    @cached_property
    def class_vectors(self) -> NDArray[np.float64]:
        """One unit vector for each class."""
        self.need_text()
        return class_vectors(self.encoder, self.classes, self.request.templates)

    def need_text(self) -> None:
        """Raise NotMeasuredError where the encoder reads no text."""
        if "text" not in self.encoder.card.modalities:
            raise NotMeasuredError("the encoder has no text tower")

    def classified(self, found: PictureSet) -> Labelled:
        """A set of pictures of our classes, encoded."""
        with self.progress(f"encoding {found.name}", len(found.pictures)) as advance:
            encoded = encode_pictures(self.encoder, read(one.path for one in found.pictures), advance)
        kept = tuple(found.pictures[row] for row in encoded.rows)
        if not kept:
            raise NotMeasuredError(f"none of the {encoded.total} pictures of {found.name!r} could be decoded")
        if gone := sorted(set(found.classes) - {one.label for one in kept}):
            raise TrainingError(f"{found.name}: no picture of {', '.join(map(repr, gone[:5]))} could be decoded")
        left_out = encoded.total - len(kept)
        clusters = tuple(one.cluster for one in kept)
        return Labelled(PictureSet(found.name, kept), encoded.vectors, self.label_rows(kept), clusters, left_out)

    def label_rows(self, pictures: Sequence[Picture]) -> NDArray[np.int64]:
        """Rows of the classes, int64 [n]."""
        rows = {name: row for row, name in enumerate(self.classes)}
        return np.array([rows[one.label] for one in pictures], np.int64)

    def right(self, vectors: Vectors, labels: NDArray[np.int64]) -> Floats:
        """For each vector, whether its class is nearest; level classes count as a fair draw."""
        return hits(similarities(vectors, self.class_vectors), labels, 1)
