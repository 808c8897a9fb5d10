"""MODEL_CARD.md: what was measured, where it stops, and what nobody measured. No figure in it comes from anywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moderation.errors import counted
from moderation.training.evaluation.calibration import Calibration
from moderation.training.evaluation.report import COLUMNS, Report, Row, cells, rows
from moderation.training.evaluation.robustness import Robustness
from moderation.training.evaluation.zero_shot import ZeroShot

_FEW = 100  # independent pictures


def model_card(report: Report) -> str:
    """The card as Markdown."""
    parts = [
        f"# {report.encoder.name}",
        _about(report),
        "## Measured",
        _table(rows(report)),
        *_classes(report.measures.zero_shot),
        "## Limits",
        _listed(_limits(report)) or "None of the measures taken shows one.",
        "## Not measured",
        _listed(f"{_words(name)}: {why}" for name, why in report.not_measured.items()) or "Nothing was left out.",
        _listed(_never()),
    ]
    return "\n\n".join(parts) + "\n"


def _about(report: Report) -> str:
    encoder, found = report.encoder, report.set
    scale = "none in the checkpoint" if encoder.scale is None else f"{encoder.scale:.2f}"
    trained_on = ", ".join(encoder.trained_on) or "unknown"
    told = [
        f"identity: `{encoder.identity}`, run as {encoder.numeric}",
        f"vectors of {encoder.width} numbers, scale of the softmax: {scale}",
        f"declared by its own card, not checked here: licence {encoder.licence or 'unknown'}; trained on {trained_on}",
    ]
    if found.name is not None:
        told.append(
            f"labels from the set `{found.name}`: {counted(found.pictures, 'picture')}, of which {found.clusters:,} independent, in {counted(len(found.classes), 'class', 'classes')}"
        )
    if found.pairs:
        told.append(f"captions from {counted(found.pairs, 'picture')}: {found.captions}")
    prompts = ", ".join(f"`{one}`" for one in report.templates)
    return _listed([*told, f"prompts: {prompts}; seed {report.seed}"])


def _table(found: Sequence[Row]) -> str:
    lines = [COLUMNS, ("---", "---:", "---:", "---:", "---:"), *map(cells, found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _classes(found: ZeroShot | None) -> Iterator[str]:
    if found is not None:
        yield "### By class, zero-shot"
        ordered = sorted(found.per_class.items(), key=lambda one: (one[1], one[0]))
        yield "\n".join(["| class | recall |", "|---|---:|", *(f"| {name} | {value:.3f} |" for name, value in ordered)])


def _limits(report: Report) -> Iterator[str]:
    measures = report.measures
    blind = [row for row in rows(report) if row.chance is not None and row.low is not None and row.low <= row.chance]
    if blind:
        yield "not shown to be better than guessing: " + ", ".join(f"{row.measure} ({row.value:.3f})" for row in blind)
    if measures.zero_shot is not None:
        chance = 1 / measures.zero_shot.classes
        weak = sorted(name for name, value in measures.zero_shot.per_class.items() if value <= chance)
        if weak:
            yield f"classes found no more often than by guessing: {', '.join(weak)}"
    if measures.robustness is not None:
        yield from _lost(measures.robustness)
    if measures.calibration is not None:
        yield from _miscalibrated(measures.calibration)
    if report.set.left_out:
        yield f"in no figure, since it could not be read: {counted(report.set.left_out, 'picture or pair', 'pictures or pairs')}"
    if 0 < report.set.clusters < _FEW:
        yield f"the set has {counted(report.set.clusters, 'independent picture')}: small differences are within its intervals"


def _lost(found: Robustness) -> Iterator[str]:
    """Shifts that cost something beyond doubt, the dearest first."""
    shifts = (*found.corruptions, *found.styles, *found.grounds)
    lost = [(one.change, one.shift) for one in shifts if one.change is not None and one.change.high < 0]
    dearest = sorted(lost, key=lambda one: one[0].value)
    told = [f"{name} {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})" for change, name in dearest]
    if told:
        yield f"loses accuracy on the same pictures under: {', '.join(told)}"
    for one in found.sets:
        if one.accuracy.high < one.clean:
            yield f"worse on the set {one.shift}: {one.accuracy.value:.3f} where the first has {one.clean:.3f}"


def _miscalibrated(found: Calibration) -> Iterator[str]:
    if found.error > 2 * found.floor:
        how = "more" if found.confidence > found.accuracy else "less"
        yield (
            f"its probabilities are {how} confident than right: mean confidence {found.confidence:.3f}, accuracy {found.accuracy:.3f}; "
            "calibrate before reading them"
        )


def _never() -> Iterator[str]:
    yield "languages other than those of the captions and prompts above; groups of people; adversarial pictures; the text side alone"


def _listed(lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _words(name: str) -> str:
    return name.replace("_", " ")
