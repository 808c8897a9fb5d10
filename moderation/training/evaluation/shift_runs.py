"""Robustness, run: the set made anew under every shift, encoded and classified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from moderation.training.evaluation import robustness as shifts
from moderation.training.evaluation.background import GROUNDS
from moderation.training.evaluation.corruption import CORRUPTIONS, SEVERITIES
from moderation.training.evaluation.picture_set import Picture, PictureSet, spread
from moderation.training.evaluation.ranking import Floats
from moderation.training.evaluation.robustness import Robustness, Shifted
from moderation.training.evaluation.vectors import encode_pictures, read
from moderation.training.evaluation.work import Labelled, Work

Made = TypeVar("Made")


def run_shifts(work: Work) -> Robustness:
    """Corruptions and grounds on a sample of the set, and the other sets whole."""
    work.need_text()
    sample = spread(work.request.pictures.labelled(), work.request.sample)
    found = work.labelled
    others = tuple(_other(work, name, other, found) for name, other in work.request.shifts.items())
    if not others:
        work.missing["style shift"] = "no --shift was given"
    images, kept = _those(shifts.prepared(read(one.path for one in sample.pictures), work.request.limits))
    clean, corruptions = _corruptions(work, images, [sample.pictures[row] for row in kept])
    drawn, with_ground = _those(shifts.drawings(read(sample.pictures[row].path for row in kept)))
    if not drawn:
        work.missing["background shift"] = "no picture of the set has a transparent ground"
    grounds = _grounds(work, drawn, [sample.pictures[kept[row]] for row in with_ground])
    return Robustness(shifts.shifted("clean", clean, clean).accuracy, corruptions, grounds, others)


def _corruptions(
    work: Work, images: Sequence[Image.Image], pictures: Sequence[Picture]
) -> tuple[Floats, list[Shifted]]:
    labels, clusters = _labels(work, pictures), [one.cluster for one in pictures]
    clean = work.right(encode_pictures(work.encoder, map(shifts.png, images)).vectors, labels)
    done = []
    with work.progress("corruptions", len(CORRUPTIONS) * len(SEVERITIES) * len(images)) as advance:
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                vectors = encode_pictures(work.encoder, shifts.corrupted(images, name, severity), advance).vectors
                done.append(shifts.shifted(name, work.right(vectors, labels), clean, clusters, severity=severity))
    return clean, done


def _grounds(work: Work, drawn: Sequence[Image.Image], pictures: Sequence[Picture]) -> list[Shifted]:
    labels, clusters = _labels(work, pictures), [one.cluster for one in pictures]
    right: dict[str, Floats] = {}
    with work.progress("grounds", len(GROUNDS) * len(drawn)) as advance:
        for name in GROUNDS if drawn else ():
            vectors = encode_pictures(work.encoder, shifts.on_ground(drawn, name), advance).vectors
            right[name] = work.right(vectors, labels)
    return [shifts.shifted(name, one, right["white"], clusters) for name, one in right.items()]


def _other(work: Work, name: str, other: PictureSet, clean: Labelled) -> Shifted:
    named = PictureSet(name, other.labelled().pictures)
    shifts.label_rows(named, work.classes)  # before an hour of encoding
    encoded = work.encode(f"encoding {name}", [one.path for one in named.pictures])
    found = work.of_classes(named, encoded)
    before = work.right(clean.vectors, clean.labels)
    return shifts.shifted_set(name, work.right(found.vectors, found.labels), found.labels, before, clean.labels)


def _labels(work: Work, pictures: Sequence[Picture]) -> NDArray[np.int64]:
    return shifts.label_rows(PictureSet("sample", tuple(pictures)), work.classes)


def _those(made: Iterable[Made | None]) -> tuple[list[Made], list[int]]:
    """What is there, and the rows that it came from."""
    there = [(row, one) for row, one in enumerate(made) if one is not None]
    return [one for _, one in there], [row for row, _ in there]
