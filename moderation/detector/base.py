"""What a detector is: a batch of parts in, one answer for each part out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Abstention, Score
from moderation.detector.names import is_revision
from moderation.item import Modality, Part

Detection = tuple[Score, ...] | Abstention


@dataclass(frozen=True, slots=True)
class DetectionBatch:
    """Parts to judge, with their vectors (float16 [n, d]) where the detector asked for them, else None.

    `scores`, where it asked for any: for each part, by the detector's id, what another one said of it under the labels that were asked for,
    scores or an abstention; who does not judge parts of that modality is not there.
    """

    parts: tuple[Part, ...]
    embeddings: NDArray[np.float16] | None = None
    scores: tuple[Mapping[str, Detection], ...] | None = None

    def __len__(self) -> int:
        return len(self.parts)


class Detector(Protocol):
    """A plugin unit. `id` is unique; `labels` are the names it scores; it sees only parts of its `modalities`.

    It may have `needs_scores`, names of other detectors or of labels of theirs; `revision`, the edition of what it judges by; and methods for
    its life (`life.py`).
    """

    @property
    def id(self) -> str:
        """A short name, unique among all detectors."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that its scores may carry."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """The modalities it judges."""
        ...

    @property
    def needs_embeddings(self) -> bool:
        """Whether the batch must carry vectors."""
        ...

    def detect(self, batch: DetectionBatch) -> Sequence[Detection]:
        """One answer for each part, in order: scores, or an abstention with its reason."""
        ...


def needs_scores(detector: Detector) -> tuple[str, ...]:
    """The detectors (`keywords`), or labels of theirs (`keywords/gambling`), whose scores a detector asks for."""
    names: tuple[str, ...] = getattr(detector, "needs_scores", ())
    return names


def revision_of(unit: object) -> str:
    """By which edition of its list, index or weights a unit judges now, "" where it does not say. Raises ValueError where that is no short word."""
    told = getattr(unit, "revision", "")
    if not isinstance(told, str) or not (told == "" or is_revision(told)):
        raise ValueError("found a revision that is none; expected letters, digits and ._+:-, 64 at most")
    return told


def ids_of(names: Iterable[str]) -> list[str]:
    """The detectors that are meant, by id, sorted."""
    return sorted({name.partition("/")[0] for name in names})


def names_of(detector: Detector) -> dict[str, tuple[str, ...]]:
    """What a detector can be named by, and the labels that are meant then: all of them by its id, one by `id/label`."""
    return {detector.id: detector.labels, **{f"{detector.id}/{label}": (label,) for label in detector.labels}}


def under(answer: Detection, labels: Collection[str]) -> Detection:
    """What an answer says under these labels; an abstention is one under all."""
    return answer if isinstance(answer, Abstention) else tuple(score for score in answer if score.label in labels)
