"""Probes, run: our own scenes, the user's captions made false, and SugarCrepe with whatever of its pictures is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moderation.encoder.base import Vectors
from moderation.training.evaluation.captions import negated_questions, swapped_questions
from moderation.training.evaluation.probes import PROBES, ProbeResult, accuracy
from moderation.training.evaluation.scenes import draw
from moderation.training.evaluation.sugarcrepe import Pair, SugarCrepe, distance
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


def run_caption_probes(work: Work) -> dict[str, ProbeResult]:
    """The user's own captions, swapped and negated."""
    captions, found = work.captioned.captions, {}
    several = {
        "swapped": list(swapped_questions(captions)),
        "negated": list(negated_questions(captions, seed=work.request.seed)),
    }
    for name, questions in several.items():
        texts = list(dict.fromkeys(text for one in questions for text in one.captions))
        with work.progress(f"captions, {name}", len(texts)) as advance:
            encoded = encode_texts(work.encoder, texts, advance)
        vectors = {texts[row]: vector for row, vector in zip(encoded.rows, encoded.vectors, strict=True)}
        asked = [one for one in questions if all(text in vectors for text in one.captions)]
        if not asked:
            work.missing[f"captions {name}"] = f"no caption could be {name}; see the docs for which can"
            continue
        images = work.captioned.images[[one.picture for one in asked]]
        both = [np.stack([vectors[text] for text in one.captions]) for one in asked]
        found[name] = accuracy(images, both, [one.right for one in asked], [one.group for one in asked])
    if not found:
        raise NotMeasuredError("no caption could be swapped or negated")
    return found


def run_sugarcrepe(work: Work) -> SugarCrepe:
    """Distance of the captions of every kind; accuracy on the pairs whose picture the user has."""
    work.need_text()
    if not work.request.sugarcrepe:
        raise NotMeasuredError("no --sugarcrepe was given")
    apart, right = {}, {}
    for kind, pairs in work.request.sugarcrepe.items():
        kept, texts = _both_captions(work, kind, pairs)
        if not kept:
            raise NotMeasuredError(f"no captions of {kind} fit the encoder's context")
        apart[kind] = distance(texts[:, 0], texts[:, 1])
        there = [row for row, pair in enumerate(kept) if _picture(work, pair) is not None]
        if there:
            right[kind] = _with_pictures(work, [kept[row] for row in there], texts[there])
    if not right:
        reason = "it needs COCO's val2017 pictures: none of those named is in a folder given as --coco"
        work.missing["SugarCrepe's accuracy"] = reason
    return SugarCrepe(apart, right)


def _both_captions(work: Work, kind: str, pairs: Sequence[Pair]) -> tuple[list[Pair], Vectors]:
    """The pairs of which both captions could be read, and their vectors [n, 2, d]."""
    texts = [text for pair in pairs for text in (pair.caption, pair.negative)]
    with work.progress(f"captions of {kind}", len(texts)) as advance:
        encoded = encode_texts(work.encoder, texts, advance)
    at = {row: place for place, row in enumerate(encoded.rows.tolist())}
    whole = [row for row in range(len(pairs)) if 2 * row in at and 2 * row + 1 in at]
    places = [[at[2 * row], at[2 * row + 1]] for row in whole]
    return [pairs[row] for row in whole], encoded.vectors[np.array(places, np.int64).reshape(-1, 2)]


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
