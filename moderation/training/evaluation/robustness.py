"""The same classes under shifts: corrupted pictures, other grounds, other sets; absolute, and relative to clean."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderation.encoder.images import decode
from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.evaluation.background import composed, transparent
from moderation.training.evaluation.corruption import corrupt
from moderation.training.evaluation.picture_set import PictureSet
from moderation.training.evaluation.ranking import Floats
from moderation.training.evaluation.share import Share, share

SIDE = 224  # of the short side, for which the strengths of the corruptions are meant


@dataclass(frozen=True, slots=True)
class Shifted:
    """Accuracy under one shift, and over that on the clean side; None where nothing was right there."""

    shift: str
    severity: int | None
    accuracy: Share
    clean: float
    relative: float | None


@dataclass(frozen=True, slots=True)
class Robustness:
    """Every shift measured. Corruptions and grounds: top-1 on the same pictures. Other sets: mean recall of the classes they have."""

    clean: Share
    corruptions: Sequence[Shifted]
    grounds: Sequence[Shifted]
    sets: Sequence[Shifted]


def shifted(
    shift: str, right: Floats, clean: Floats, clusters: Sequence[str] | None = None, *, severity: int | None = None
) -> Shifted:
    """Accuracy of `right` [n] in [0, 1] beside that of `clean`, which are the same pictures before."""
    return _shifted(shift, severity, share(right, clusters), float(np.mean(clean)))


def shifted_set(
    shift: str, right: Floats, labels: NDArray[np.int64], clean: Floats, clean_labels: NDArray[np.int64]
) -> Shifted:
    """Accuracy on other pictures of the same classes: mean of the recalls of the classes that `labels` holds, on both sides."""
    here = np.unique(labels)
    before = float(np.mean([clean[clean_labels == label].mean() for label in here]))
    return _shifted(shift, None, share(right, groups=labels.astype(str).tolist()), before)


def label_rows(other: PictureSet, classes: Sequence[str]) -> NDArray[np.int64]:
    """Rows of `classes` for the pictures of a set; raises TrainingError for a label that is not among them."""
    unknown = sorted(set(other.classes) - set(classes))
    if unknown or not other.classes:
        found = ", ".join(map(repr, unknown[:5])) or "no labels"
        raise TrainingError(
            f"shift {other.name!r}: found {found}; expected labels of the set: {', '.join(classes[:10])}"
        )
    rows = {name: row for row, name in enumerate(classes)}
    return np.array([rows[one.label] for one in other.pictures if one.label is not None], np.int64)


def prepared(contents: Iterable[bytes], limits: ImageLimits) -> Iterator[Image.Image | None]:
    """Pictures upright and in RGB with a short side of SIDE pixels; None for one that cannot be decoded."""
    for content in contents:
        try:
            image = decode(content, limits)
        except ItemError:
            yield None
            continue
        factor = SIDE / min(image.size)
        size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        longest = 4 * SIDE  # a strip of film stays a strip, yet a banner does not become a wall
        yield image.resize((min(size[0], longest), min(size[1], longest)), Image.Resampling.BICUBIC)


def corrupted(images: Sequence[Image.Image], name: str, severity: int) -> Iterator[bytes]:
    """PNG files of the pictures under a corruption; a picture's place is its seed."""
    return (png(corrupt(image, name, severity, seed=seed)) for seed, image in enumerate(images))


def drawings(contents: Iterable[bytes]) -> Iterator[Image.Image | None]:
    """The pictures that have a transparent ground, as RGBA; None for others. Contents must have been decoded before."""
    return (transparent(content) for content in contents)


def on_ground(images: Sequence[Image.Image], ground: str) -> Iterator[bytes]:
    """PNG files of RGBA drawings on a ground; a drawing's place is its seed."""
    return (png(composed(image, ground, seed=seed)) for seed, image in enumerate(images))


def png(image: Image.Image) -> bytes:
    """The picture as a PNG file, packed for speed."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _shifted(shift: str, severity: int | None, accuracy: Share, clean: float) -> Shifted:
    return Shifted(shift, severity, accuracy, clean, accuracy.value / clean if clean else None)
