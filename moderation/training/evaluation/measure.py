"""One encoder over what was given: the measures in their order, each with what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from moderation.encoder.base import Encoder
from moderation.errors import TrainingError
from moderation.training.evaluation.calibration import Calibration, calibration
from moderation.training.evaluation.linear_probe import FOLDS, STRENGTHS, LinearProbe, linear_probe
from moderation.training.evaluation.probe_runs import run_caption_probes, run_probes, run_sugarcrepe
from moderation.training.evaluation.ranking import similarities
from moderation.training.evaluation.report import EncoderFacts, Measures, Report, SetFacts
from moderation.training.evaluation.retrieval import Retrieval, retrieval
from moderation.training.evaluation.robustness import run_robustness
from moderation.training.evaluation.vectors import encode_texts
from moderation.training.evaluation.work import NotMeasuredError, Progress, Request, Work
from moderation.training.evaluation.zero_shot import ZeroShot, zero_shot


def evaluate(encoder: Encoder, request: Request, *, progress: Progress) -> Report:
    """Every measure that is asked for and possible. Raises TrainingError where none is, or an input does not fit."""
    if "image" not in encoder.card.modalities:
        raise TrainingError(f"encoder {encoder.card.name!r} has no image tower; expected one that encodes pictures")
    work = Work(encoder, request, progress)
    found: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        if request.only and name not in request.only:
            work.missing[name] = "not asked for"
            continue
        try:
            found[name] = measure(work)
        except NotMeasuredError as reason:
            work.missing[name] = str(reason)
    if not found:
        told = "; ".join(f"{name}: {why}" for name, why in work.missing.items() if why != "not asked for")
        raise TrainingError(f"nothing could be measured: {told}")
    return Report(
        _encoder(encoder, request), _set(work), request.templates, request.seed, Measures(**found), work.missing
    )


def _zero_shot(work: Work) -> ZeroShot:
    found = work.labelled
    return zero_shot(found.vectors, work.class_vectors, found.labels, work.classes, found.clusters)


def _retrieval(work: Work) -> Retrieval:
    found = work.captioned
    captions = [(row, caption) for row, several in enumerate(found.captions) for caption in several]
    with work.progress("encoding captions", len(captions)) as advance:
        texts = encode_texts(work.encoder, [caption for _, caption in captions], advance)
    if len(texts.rows) < texts.total:
        message = f"{texts.total - len(texts.rows)} of {texts.total} are beyond the encoder's context"
        work.missing["retrieval of long captions"] = message
    owner = np.array([row for row, _ in captions], np.int64)[texts.rows]
    with work.progress("retrieval", len(np.unique(owner)) + len(owner)) as advance:
        return retrieval(found.images, texts.vectors, owner, advance=advance)


def _linear_probe(work: Work) -> LinearProbe:
    found = work.labelled
    of_class = [len({one.cluster for one in found.set.pictures if one.label == name}) for name in work.classes]
    if min(of_class) < FOLDS:
        name = work.classes[int(np.argmin(of_class))]
        raise NotMeasuredError(f"class {name!r} has {min(of_class)} independent pictures; expected at least {FOLDS}")
    with work.progress("linear probe", len(STRENGTHS)) as advance:
        return linear_probe(found.vectors, found.labels, found.clusters, seed=work.request.seed, advance=advance)


def _calibration(work: Work) -> Calibration:
    if work.request.scale is None:
        raise NotMeasuredError("the checkpoint has no logit_scale, so that it states no probabilities")
    found = work.labelled
    return calibration(similarities(found.vectors, work.class_vectors), found.labels, work.request.scale)


def _encoder(encoder: Encoder, request: Request) -> EncoderFacts:
    card, print_ = encoder.card, encoder.fingerprint
    return EncoderFacts(
        card.name, print_.identity, print_.numeric, card.width, request.scale, card.licence, card.trained_on
    )


def _set(work: Work) -> SetFacts:
    """What was given, and what of it could not be read; a set that no measure needed was not read."""
    pictures, pairs = work.request.pictures, work.request.pairs
    labelled, captioned = work.__dict__.get("labelled"), work.__dict__.get("captioned")
    return SetFacts(
        pictures.name if pictures else None,
        len(pictures.pictures) if pictures else 0,
        len({one.cluster for one in pictures.pictures}) if pictures else 0,
        work.classes,
        len(pairs) if pairs else 0,
        sum(map(len, captioned.captions)) if captioned else 0,
        (labelled.left_out if labelled else 0) + (captioned.left_out if captioned else 0),
    )


MEASURES: Mapping[str, Callable[[Work], Any]] = MappingProxyType(
    {
        "zero_shot": _zero_shot,
        "retrieval": _retrieval,
        "linear_probe": _linear_probe,
        "calibration": _calibration,
        "robustness": run_robustness,
        "scenes": run_probes,
        "captions": run_caption_probes,
        "sugarcrepe": run_sugarcrepe,
    }
)
