"""Everything that was measured of one encoder on one set, and what was not and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moderation.training.evaluation.calibration import Calibration
from moderation.training.evaluation.linear_probe import LinearProbe
from moderation.training.evaluation.probes import ProbeResult
from moderation.training.evaluation.retrieval import Recall, Retrieval
from moderation.training.evaluation.robustness import Robustness, Shifted
from moderation.training.evaluation.share import Share
from moderation.training.evaluation.sugarcrepe import Distance
from moderation.training.evaluation.zero_shot import ZeroShot

SCHEMA = "encoder-evaluation/v1"


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """Which encoder was measured; `licence` and `trained_on` are what its card declares."""

    name: str
    identity: str
    numeric: str
    width: int
    scale: float | None
    licence: str | None
    trained_on: Sequence[str]


@dataclass(frozen=True, slots=True)
class SetFacts:
    """What was measured on; pictures `left_out` could not be decoded."""

    name: str
    pictures: int
    left_out: int
    clusters: int
    captions: int
    classes: Sequence[str]


@dataclass(frozen=True, slots=True)
class SugarCrepe:
    """By kind: distance of the captions, and accuracy on the pairs whose picture was there."""

    distance: Mapping[str, Distance]
    accuracy: Mapping[str, ProbeResult]


@dataclass(frozen=True, slots=True)
class Measures:
    """The results; None where `Report.not_measured` says why."""

    zero_shot: ZeroShot | None = None
    retrieval: Retrieval | None = None
    linear_probe: LinearProbe | None = None
    calibration: Calibration | None = None
    robustness: Robustness | None = None
    probes: Mapping[str, ProbeResult] | None = None
    sugarcrepe: SugarCrepe | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of one evaluation."""

    encoder: EncoderFacts
    set: SetFacts
    templates: Sequence[str]
    measures: Measures
    not_measured: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON with stable keys."""
        return {"schema": SCHEMA, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a figure, its interval and what guessing gets, where those exist."""

    measure: str
    value: float
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    count: int | None = None


def rows(report: Report) -> list[Row]:
    """The table of a report, in the order of the measures."""
    return list(_rows(report.measures))


def mean_by_corruption(found: Robustness) -> dict[str, float]:
    """Accuracy by corruption, mean over severities."""
    names = dict.fromkeys(one.shift for one in found.corruptions)
    return {
        name: float(np.mean([one.accuracy.value for one in found.corruptions if one.shift == name])) for name in names
    }


def _rows(found: Measures) -> Iterator[Row]:
    if (zero := found.zero_shot) is not None:
        yield _row("zero-shot top-1", zero.top1, 1 / zero.classes)
        yield _row("zero-shot top-5", zero.top5, min(1.0, 5 / zero.classes))
        yield _row("zero-shot mean per class", zero.mean_per_class, 1 / zero.classes)
    if found.retrieval is not None:
        yield from _recalls("captions by picture", found.retrieval.image_to_text)
        yield from _recalls("pictures by caption", found.retrieval.text_to_image)
    if (probe := found.linear_probe) is not None:
        yield _row("linear probe accuracy", probe.accuracy, 1 / probe.classes)
        yield _row("linear probe mean per class", probe.mean_per_class, 1 / probe.classes)
    if (made := found.calibration) is not None:
        yield Row("calibration error (ECE)", made.error, count=sum(one.count for one in made.bins))
        yield Row("calibration error if perfect", made.floor)
    if found.robustness is not None:
        yield from _shifts(found.robustness)
    for name, result in (found.probes or {}).items():
        yield _row(f"probe: {name}", result.accuracy, result.chance)
    if found.sugarcrepe is not None:
        for name, result in found.sugarcrepe.accuracy.items():
            yield _row(f"SugarCrepe: {name}", result.accuracy, result.chance)
        for name, apart in found.sugarcrepe.distance.items():
            yield Row(f"SugarCrepe captions' cosine: {name}", apart.cosine, count=apart.pairs)


def _recalls(what: str, recall: Recall) -> Iterator[Row]:
    for k, one in recall.at.items():
        yield _row(f"{what} R@{k}", one, recall.chance[k])


def _shifts(found: Robustness) -> Iterator[Row]:
    if found.corruptions:
        yield _row("clean, at the corruptions' size", found.clean)
    for name, mean in mean_by_corruption(found).items():
        yield Row(f"under {name}, mean of severities", mean, count=found.clean.count)
    several: Sequence[tuple[str, Sequence[Shifted]]] = (("on ground", found.grounds), ("shift", found.sets))
    for kind, shifts in several:
        for one in shifts:
            yield _row(f"{kind}: {one.shift}", one.accuracy)


def _row(measure: str, one: Share, chance: float | None = None) -> Row:
    return Row(measure, one.value, one.low, one.high, chance, one.count)
