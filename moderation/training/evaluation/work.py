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
from moderation.settings import ImageLimits
from moderation.training.evaluation.picture_set import Picture, PictureSet
from moderation.training.evaluation.ranking import Floats, similarities
from moderation.training.evaluation.report import SetFacts
from moderation.training.evaluation.robustness import label_rows
from moderation.training.evaluation.sugarcrepe import Pair
from moderation.training.evaluation.templates import CLIP_SEVEN, class_vectors
from moderation.training.evaluation.vectors import Advance, Encodings, encode_pictures, read
from moderation.training.evaluation.zero_shot import hits

Progress = Callable[[str, int], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True)
class Request:
    """What to measure: the set, other sets of its classes, which measures, and what some of them need beside."""

    pictures: PictureSet
    shifts: Mapping[str, PictureSet] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    sample: int = 200  # pictures under corruptions and on grounds, at most
    scale: float | None = None
    templates: Sequence[str] = CLIP_SEVEN
    pairs: Mapping[str, Sequence[Pair]] = field(default_factory=dict)
    coco: Path | None = None
    limits: ImageLimits = field(default_factory=ImageLimits)


class NotMeasuredError(Exception):
    """A measure lacks what it needs; the message says what. It never leaves `evaluate`."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """The pictures of a set that have a label and could be decoded: vectors, rows of the classes, clusters."""

    pictures: tuple[Picture, ...]
    vectors: Vectors
    labels: NDArray[np.int64]
    clusters: tuple[str, ...]


class Work:
    """What measures share, each made when the first of them needs it."""

    def __init__(self, encoder: Encoder, request: Request, progress: Progress) -> None:
        self.encoder, self.request, self.progress = encoder, request, progress
        self.missing: dict[str, str] = {}
        self.classes = request.pictures.classes

    @cached_property
    def encoded(self) -> Encodings:
        return self.encode("encoding the set", [one.path for one in self.request.pictures.pictures])

    @cached_property
    def labelled(self) -> Labelled:
        if len(self.classes) < 2:
            raise NotMeasuredError(f"the set has {len(self.classes)} labels; expected at least 2")
        return self.of_classes(self.request.pictures, self.encoded)

    @cached_property
    def class_vectors(self) -> NDArray[np.float64]:
        self.need_text()
        return class_vectors(self.encoder, self.classes, self.request.templates)

    def need_text(self) -> None:
        if "text" not in self.encoder.card.modalities:
            raise NotMeasuredError("the encoder has no text tower")

    def of_classes(self, found: PictureSet, encoded: Encodings) -> Labelled:
        """The labelled among the encoded pictures of a set."""
        kept = [(at, found.pictures[row]) for at, row in enumerate(encoded.rows)]
        chosen = [(at, one) for at, one in kept if one.label is not None]
        if not chosen:
            raise NotMeasuredError("no labelled picture could be decoded")
        pictures = tuple(one for _, one in chosen)
        labels = label_rows(PictureSet(found.name, pictures), self.classes)
        vectors = encoded.vectors[[at for at, _ in chosen]]
        return Labelled(pictures, vectors, labels, tuple(one.cluster for one in pictures))

    def encode(self, what: str, paths: Sequence[Path]) -> Encodings:
        with self.progress(what, len(paths)) as advance:
            return encode_pictures(self.encoder, read(paths), advance)

    def right(self, vectors: Vectors, labels: NDArray[np.int64]) -> Floats:
        return hits(similarities(vectors, self.class_vectors), labels, 1)

    def set_facts(self) -> SetFacts:
        pictures = self.request.pictures.pictures
        left_out = self.encoded.left_out if "encoded" in self.__dict__ else 0
        captions, clusters = sum(len(one.captions) for one in pictures), len({one.cluster for one in pictures})
        return SetFacts(self.request.pictures.name, len(pictures), left_out, clusters, captions, self.classes)
