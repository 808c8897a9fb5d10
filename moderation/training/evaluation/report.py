"""Everything that was measured of one encoder, and what was not and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from moderation.training.evaluation.calibration import Calibration
from moderation.training.evaluation.linear_probe import LinearProbe
from moderation.training.evaluation.probes import ProbeResult
from moderation.training.evaluation.retrieval import Recall, Retrieval
from moderation.training.evaluation.robustness import Robustness
from moderation.training.evaluation.share import Share
from moderation.training.evaluation.sugarcrepe import SugarCrepe
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
    """What it was measured on; `left_out` pictures and pairs could not be read."""

    name: str | None
    pictures: int
    clusters: int
    classes: Sequence[str]
    pairs: int
    captions: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Measures:
    """The results; None where `Report.not_measured` says why. `scenes` and `captions` are probes, by name."""

    zero_shot: ZeroShot | None = None
    retrieval: Retrieval | None = None
    linear_probe: LinearProbe | None = None
    calibration: Calibration | None = None
    robustness: Robustness | None = None
    scenes: Mapping[str, ProbeResult] | None = None
    captions: Mapping[str, ProbeResult] | None = None
    sugarcrepe: SugarCrepe | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of one evaluation."""

    encoder: EncoderFacts
    set: SetFacts
    templates: Sequence[str]
    seed: int
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


COLUMNS = ("measure", "value", "95 % interval", "chance", "count")


def rows(report: Report) -> list[Row]:
    """The table of a report, in the order of the measures."""
    found = report.measures
    return [
        *_zero_shot(found.zero_shot),
        *_retrieval(found.retrieval),
        *_linear_probe(found.linear_probe),
        *_calibration(found.calibration),
        *_robustness(found.robustness),
        *(_row(f"scenes: {name}", one.accuracy, one.chance) for name, one in (found.scenes or {}).items()),
        *(_row(f"captions: {name}", one.accuracy, one.chance) for name, one in (found.captions or {}).items()),
        *_sugarcrepe(found.sugarcrepe),
    ]


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """A row in words, as COLUMNS."""
    interval = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f}"
    chance = "" if row.chance is None else f"{row.chance:.3f}"
    return row.measure, f"{row.value:.3f}", interval, chance, str(row.count or "")


def _zero_shot(found: ZeroShot | None) -> Iterator[Row]:
    if found is not None:
        yield _row("zero-shot top-1", found.top1, 1 / found.classes)
        yield _row("zero-shot top-5", found.top5, min(1.0, 5 / found.classes))
        yield _row("zero-shot mean per class", found.mean_per_class, 1 / found.classes)


def _retrieval(found: Retrieval | None) -> Iterator[Row]:
    if found is not None:
        sides: Sequence[tuple[str, Recall]] = (("captions", found.image_to_text), ("pictures", found.text_to_image))
        for what, recall in sides:
            by = "picture" if what == "captions" else "caption"
            yield from (_row(f"{what} by {by} R@{k}", one, recall.chance[k]) for k, one in recall.at.items())


def _linear_probe(found: LinearProbe | None) -> Iterator[Row]:
    if found is not None:
        yield _row("linear probe accuracy", found.accuracy, 1 / found.classes)
        yield _row("linear probe mean per class", found.mean_per_class, 1 / found.classes)


def _calibration(found: Calibration | None) -> Iterator[Row]:
    if found is not None:
        count = sum(one.count for one in found.bins)
        yield Row(f"calibration error at scale {found.scale:.2f}", found.error, found.low, found.high, count=count)
        yield Row("calibration error if perfect", found.floor)


def _robustness(found: Robustness | None) -> Iterator[Row]:
    if found is not None:
        yield _row("robustness: clean sample", found.clean)
        for kind in ("corruptions", "styles", "grounds", "sets"):
            one = {"corruptions": "under", "styles": "as", "grounds": "on ground", "sets": "other set"}[kind]
            yield from (_row(f"{one} {shift.shift}", shift.accuracy) for shift in getattr(found, kind))


def _sugarcrepe(found: SugarCrepe | None) -> Iterator[Row]:
    if found is not None:
        yield from (_row(f"SugarCrepe {kind}", one.accuracy, one.chance) for kind, one in found.accuracy.items())
        yield from (
            Row(f"SugarCrepe captions' cosine {kind}", one.cosine, count=one.pairs)
            for kind, one in found.distance.items()
        )


def _row(measure: str, one: Share, chance: float | None = None) -> Row:
    return Row(measure, one.value, one.low, one.high, chance, one.count)
