"""Probes, run: our own scenes, and SugarCrepe's captions with whatever of its pictures is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moderation.encoder.base import Vectors
from moderation.training.evaluation.probes import PROBES, ProbeResult, accuracy
from moderation.training.evaluation.report import SugarCrepe
from moderation.training.evaluation.scenes import draw
from moderation.training.evaluation.sugarcrepe import Pair, distance
from moderation.training.evaluation.vectors import encode_pictures, encode_texts, every_text, read
from moderation.training.evaluation.work import NotMeasuredError, Work


def run_probes(work: Work) -> dict[str, ProbeResult]:
    """Every probe on the scenes that we draw."""
    work.need_text()
    found = {}
    for name, make in PROBES.items():
        questions = list(make())
        with work.progress(name, len(questions)) as advance:
            images = encode_pictures(work.encoder, (draw(one.scene) for one in questions), advance).vectors
        captions = list(dict.fromkeys(caption for one in questions for caption in one.captions))
        vectors = dict(zip(captions, every_text(work.encoder, captions), strict=True))
        texts = [np.stack([vectors[caption] for caption in one.captions]) for one in questions]
        found[name] = accuracy(images, texts, [one.right for one in questions], [one.group for one in questions])
    return found


def run_sugarcrepe(work: Work) -> SugarCrepe:
    """Distance of the captions of every kind; accuracy on the pairs whose picture the user has."""
    work.need_text()
    if not work.request.pairs:
        raise NotMeasuredError("no --sugarcrepe was given")
    apart, right = {}, {}
    for kind, pairs in work.request.pairs.items():
        kept, texts = _both_captions(work, kind, pairs)
        apart[kind] = distance(texts[:, 0], texts[:, 1])
        there = [row for row, pair in enumerate(kept) if _picture(work, pair) is not None]
        if there:
            right[kind] = _with_pictures(work, [kept[row] for row in there], texts[there])
    if not right:
        work.missing["SugarCrepe's accuracy"] = (
            "it needs COCO's pictures: none of those named is in a folder given as --coco"
        )
    return SugarCrepe(apart, right)


def _both_captions(work: Work, kind: str, pairs: Sequence[Pair]) -> tuple[list[Pair], Vectors]:
    """The pairs of which both captions could be read, and their vectors [n, 2, d]."""
    texts = [text for pair in pairs for text in (pair.caption, pair.negative)]
    with work.progress(f"captions of {kind}", len(texts)) as advance:
        encoded = encode_texts(work.encoder, texts, advance)
    vectors = dict(zip(encoded.rows.tolist(), encoded.vectors, strict=True))
    whole = [row for row in range(len(pairs)) if 2 * row in vectors and 2 * row + 1 in vectors]
    both = [np.stack([vectors[2 * row], vectors[2 * row + 1]]) for row in whole]
    return [pairs[row] for row in whole], np.stack(both)


def _with_pictures(work: Work, pairs: Sequence[Pair], texts: Vectors) -> ProbeResult:
    paths = [path for pair in pairs if (path := _picture(work, pair)) is not None]
    with work.progress("SugarCrepe's pictures", len(paths)) as advance:
        images = encode_pictures(work.encoder, read(paths), advance)
    names = [pairs[row].filename for row in images.rows]
    return accuracy(images.vectors, list(texts[images.rows]), [0] * len(names), names)


def _picture(work: Work, pair: Pair) -> Path | None:
    """The pair's picture in the user's folder; a name is never a way out of it."""
    path = None if work.request.coco is None else work.request.coco / Path(pair.filename).name
    return path if path is not None and path.is_file() else None
