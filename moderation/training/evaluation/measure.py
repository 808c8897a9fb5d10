"""One encoder over one set: the measures in their order, each with what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from moderation.encoder.base import Encoder
from moderation.errors import TrainingError
from moderation.training.evaluation.calibration import Calibration, calibration
from moderation.training.evaluation.linear_probe import FOLDS, LinearProbe, linear_probe
from moderation.training.evaluation.probe_runs import run_probes, run_sugarcrepe
from moderation.training.evaluation.ranking import similarities
from moderation.training.evaluation.report import EncoderFacts, Measures, Report
from moderation.training.evaluation.retrieval import Retrieval, retrieval
from moderation.training.evaluation.shift_runs import run_shifts
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
        raise TrainingError(f"set {request.pictures.name!r}: nothing could be measured: {told}")
    return Report(_encoder(encoder, request), work.set_facts(), request.templates, Measures(**found), work.missing)


def _zero_shot(work: Work) -> ZeroShot:
    found = work.labelled
    return zero_shot(found.vectors, work.class_vectors, found.labels, work.classes, found.clusters)


def _retrieval(work: Work) -> Retrieval:
    work.need_text()
    pictures = work.request.pictures.pictures
    if sum(bool(one.captions) for one in pictures) < 2:
        raise NotMeasuredError("the set has captions on fewer than 2 pictures")
    rows = [(at, pictures[row]) for at, row in enumerate(work.encoded.rows) if pictures[row].captions]
    captions = [(number, caption) for number, (_, one) in enumerate(rows) for caption in one.captions]
    with work.progress("encoding captions", len(captions)) as advance:
        texts = encode_texts(work.encoder, [caption for _, caption in captions], advance)
    if texts.left_out:
        work.missing["retrieval of long captions"] = f"{texts.left_out} captions are beyond the encoder's context"
    owner = np.array([number for number, _ in captions], np.int64)[texts.rows]
    images, clusters = work.encoded.vectors[[at for at, _ in rows]], [one.cluster for _, one in rows]
    with work.progress("retrieval", len(np.unique(owner)) + len(owner)) as advance:
        return retrieval(images, texts.vectors, owner, clusters=clusters, advance=advance)


def _linear_probe(work: Work) -> LinearProbe:
    found = work.labelled
    of_class = [
        len({found.clusters[i] for i in np.flatnonzero(found.labels == row)}) for row in range(len(work.classes))
    ]
    if min(of_class) < FOLDS:
        name = work.classes[int(np.argmin(of_class))]
        raise NotMeasuredError(f"class {name!r} has {min(of_class)} clusters; expected at least {FOLDS}")
    return linear_probe(found.vectors, found.labels, found.clusters)


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


MEASURES: Mapping[str, Callable[[Work], Any]] = MappingProxyType(
    {
        "zero_shot": _zero_shot,
        "retrieval": _retrieval,
        "linear_probe": _linear_probe,
        "calibration": _calibration,
        "robustness": run_shifts,
        "probes": run_probes,
        "sugarcrepe": run_sugarcrepe,
    }
)
