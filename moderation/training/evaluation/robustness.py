"""The same classes under shifts: pictures corrupted, in other styles, on other grounds, and other sets of the same classes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderation.encoder.images import decode
from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.evaluation.background import GROUNDS, composed, transparent
from moderation.training.evaluation.corruption import CORRUPTIONS, SEVERITIES, corrupt
from moderation.training.evaluation.picture_set import Picture, PictureSet, spread
from moderation.training.evaluation.ranking import Floats
from moderation.training.evaluation.share import Change, Share, change, share
from moderation.training.evaluation.style import STYLES
from moderation.training.evaluation.vectors import Advance, encode_pictures, read
from moderation.training.evaluation.work import Work

SIDE = 224  # pixels of the short side, for which the strengths of the corruptions are meant
Make = Callable[[Image.Image, Sequence[int]], Image.Image]  # a picture and a seed into a picture


@dataclass(frozen=True, slots=True)
class Shifted:
    """Top-1 under one shift, beside that on the clean side; `relative` is their ratio, None where nothing was right there.

    `change` is from the clean side, picture by picture; None of other sets, whose pictures are others. Of a corruption, `accuracy` is the mean over the severities and `by_severity` holds each, mildest first.
    """

    shift: str
    accuracy: Share
    clean: float
    relative: float | None
    change: Change | None = None
    by_severity: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Robustness:
    """Every shift measured. All but other sets are on the same pictures; of other sets, the mean recall of the classes they have."""

    clean: Share
    corruptions: Sequence[Shifted]
    styles: Sequence[Shifted]
    grounds: Sequence[Shifted]
    sets: Sequence[Shifted]


@dataclass(frozen=True, slots=True)
class _Sample:
    """Decoded pictures, rows of their classes, and their clusters."""

    images: Sequence[Image.Image]
    labels: NDArray[np.int64]
    clusters: Sequence[str]


def run_robustness(work: Work) -> Robustness:
    """Corruptions, styles and grounds on a sample of the set, spread evenly over classes, and the other sets whole."""
    work.need_text()
    sets = [_other(work, name, other) for name, other in work.request.shifts.items()]
    if not sets:
        work.missing["other sets"] = "no --shift was given"
    pictures = spread(work.labelled.set, work.request.sample, seed=work.request.seed).pictures
    contents = list(read(one.path for one in pictures))
    plain = _sample(work, pictures, [_prepared(content, work.request.limits) for content in contents])
    clean = _right(work, plain, _as_it_is)
    corruptions = _corruptions(work, plain, clean)
    with work.progress("styles", len(STYLES) * len(plain.images)) as advance:
        drawn = {name: _right(work, plain, partial(_styled, style=name), advance) for name in STYLES}
    see_through = _sample(work, pictures, [transparent(content, work.request.limits) for content in contents])
    if not see_through.images:
        work.missing["background shift"] = "no picture of the sample has a transparent ground"
    names = list(GROUNDS) if see_through.images else []
    with work.progress("grounds", len(names) * len(see_through.images)) as advance:
        grounds = {name: _right(work, see_through, partial(composed, ground=name), advance) for name in names}
    return Robustness(
        share(clean, plain.clusters),
        corruptions,
        [_shifted(name, right, clean, plain.clusters) for name, right in drawn.items()],
        [_shifted(name, right, grounds["white"], see_through.clusters) for name, right in grounds.items()],
        sets,
    )


def _corruptions(work: Work, sample: _Sample, clean: Floats) -> list[Shifted]:
    done = []
    with work.progress("corruptions", len(CORRUPTIONS) * len(SEVERITIES) * len(sample.images)) as advance:
        for name in CORRUPTIONS:
            makers = [partial(corrupt, name=name, severity=severity) for severity in SEVERITIES]
            right = np.array([_right(work, sample, make, advance) for make in makers])
            found = _shifted(name, right.mean(axis=0), clean, sample.clusters, by_severity=right.mean(axis=1).tolist())
            done.append(found)
    return done


def _other(work: Work, name: str, other: PictureSet) -> Shifted:
    """Top-1 on other pictures of the same classes: mean of the recalls of the classes that they have, on both sides."""
    clean, found = work.labelled, work.classified(PictureSet(name, other.pictures))
    before = work.right(clean.vectors, clean.labels)
    mean = float(np.mean([before[clean.labels == label].mean() for label in np.unique(found.labels)]))
    right = work.right(found.vectors, found.labels)
    accuracy = share(right, found.clusters, groups=found.labels.astype(str).tolist())
    return Shifted(name, accuracy, mean, accuracy.value / mean if mean else None)


def _shifted(
    name: str, right: Floats, clean: Floats, clusters: Sequence[str], by_severity: Sequence[float] = ()
) -> Shifted:
    accuracy, before = share(right, clusters), float(clean.mean())
    relative = accuracy.value / before if before else None
    return Shifted(name, accuracy, before, relative, change(right, clean, clusters), by_severity)


def _right(work: Work, sample: _Sample, make: Make, advance: Advance = lambda _: None) -> Floats:
    """For each picture as `make` gives it back, whether its class is nearest; a picture's place is part of its seed."""
    files = (_png(make(image, (work.request.seed, at))) for at, image in enumerate(sample.images))
    found = encode_pictures(work.encoder, files, advance)
    if len(found.rows) < found.total:
        raise TrainingError(f"a picture of {SIDE} pixels cannot be encoded; expected the settings' limits to allow it")
    return work.right(found.vectors, sample.labels)


def _as_it_is(image: Image.Image, _seed: Sequence[int]) -> Image.Image:
    return image


def _styled(image: Image.Image, _seed: Sequence[int], *, style: str) -> Image.Image:
    return STYLES[style](image)


def _sample(work: Work, pictures: Sequence[Picture], images: Iterable[Image.Image | None]) -> _Sample:
    there = [(one, image) for one, image in zip(pictures, images, strict=True) if image is not None]
    kept = [one for one, _ in there]
    return _Sample([image for _, image in there], work.label_rows(kept), [one.cluster for one in kept])


def _prepared(content: bytes, limits: ImageLimits) -> Image.Image | None:
    """The picture upright and in RGB with a short side of SIDE pixels; None where it cannot be decoded."""
    try:
        image = decode(content, limits)
    except ItemError:
        return None
    factor, longest = (
        SIDE / min(image.size),
        4 * SIDE,
    )  # a strip of film stays a strip, yet a banner does not become a wall
    width, height = (min(longest, max(1, round(side * factor))) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _png(image: Image.Image) -> bytes:
    """The picture as a PNG file, packed for speed."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
