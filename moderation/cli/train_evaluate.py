"""`moderation train evaluate`: an encoder measured, told as a table, JSON, figures and a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.errors import DataError, Problem

if TYPE_CHECKING:
    from moderation.encoder.base import Encoder
    from moderation.settings import Settings
    from moderation.training.evaluation.picture_set import PictureSet
    from moderation.training.evaluation.report import Report


def evaluate(
    encoder: Annotated[
        str, typer.Argument(help="A checkpoint's folder, 'bundled', a hub id, or an encoder's name in the settings.")
    ],
    pictures: Annotated[
        Path,
        typer.Option(
            "--set", help="A folder of folders named as classes, or a .jsonl of path, label, captions, cluster."
        ),
    ],
    shifts: Annotated[
        list[str] | None,
        typer.Option("--shift", metavar="NAME=PATH", help="Another set of its classes; repeat for more."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="MEASURE",
            help="zero_shot, retrieval, linear_probe, calibration, robustness, probes, sugarcrepe; repeat for more.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write evaluation.json, MODEL_CARD.md and figures to this folder.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")] = False,
    sample: Annotated[int, typer.Option(help="Pictures under corruptions and on other grounds, at most.", min=1)] = 200,
    pairs: Annotated[
        Path | None, typer.Option("--sugarcrepe", help="SugarCrepe's JSON file, gzipped or not.", dir_okay=False)
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option("--coco", help="The folder of COCO's val2017 pictures, for SugarCrepe.", file_okay=False),
    ] = None,
) -> None:
    """Measure an encoder: zero-shot, retrieval, linear probe, calibration, robustness, and probes of what captions mean.

    Labels are needed for all but retrieval and probes, captions for retrieval. What cannot be measured is left out and said.
    A line of a .jsonl: {"path": "a.jpg", "label": "hat", "captions": ["a red hat"], "cluster": "shop 7"}.

    Example: moderation train evaluate bundled --set pictures/ --shift sketches=sketches/ --out evaluation/
    """
    from moderation.settings import load_settings
    from moderation.training.evaluation.measure import evaluate as measure
    from moderation.training.evaluation.picture_set import open_set
    from moderation.training.evaluation.sugarcrepe import read_pairs
    from moderation.training.evaluation.work import Request

    settings = load_settings()
    chosen, found, others = _measures(only or []), open_set(_existing(pictures)), _shifts(shifts or [])
    captions = read_pairs(pairs) if pairs else {}
    with terminal.working("loading the encoder"):
        loaded, scale = _load(encoder, settings)
    request = Request(
        found,
        shifts=others,
        only=chosen,
        sample=sample,
        scale=scale,
        pairs=captions,
        coco=coco,
        limits=settings.images,
    )
    report = measure(loaded, request, progress=terminal.progress)
    if out is not None:
        _write(report, out)
    if as_json:
        terminal.emit(report.to_dict())
    else:
        _tell(report, out)


def _measures(only: list[str]) -> frozenset[str]:
    from moderation.training.evaluation.measure import MEASURES

    for name in only:
        if name not in MEASURES:
            raise typer.BadParameter(f"{name!r}; expected one of {', '.join(MEASURES)}", param_hint="--only")
    return frozenset(only)


def _shifts(given: list[str]) -> dict[str, PictureSet]:
    from moderation.training.evaluation.picture_set import open_set

    found: dict[str, PictureSet] = {}
    for one in given:
        name, sign, path = one.partition("=")
        if not (name and sign and path):
            raise typer.BadParameter(f"{one!r}; expected NAME=PATH", param_hint="--shift")
        if name in found:
            raise typer.BadParameter(
                f"{name!r} is given twice; expected a name of its own for each", param_hint="--shift"
            )
        found[name] = open_set(_existing(Path(path)))
    return found


def _existing(path: Path) -> Path:
    if not path.exists():
        raise DataError([Problem(path, 0, 0, "D000", "no such file or folder")])
    return path


def _load(reference: str, settings: Settings) -> tuple[Encoder, float | None]:
    """The encoder, and the scale of its softmax where its checkpoint states one; a name in the settings comes first."""
    from moderation import assemble
    from moderation.encoder.locate import locate
    from moderation.training.evaluation.scale import own_scale

    wanted = settings.encoders.get(reference)
    if wanted is None:
        wanted = settings.encoders["default"].model_copy(update={"loader": "torch", "checkpoint": reference})
        settings = settings.model_copy(update={"encoders": {**settings.encoders, reference: wanted}})
    scale = own_scale(locate(wanted.checkpoint)) if wanted.loader == "torch" else None
    return assemble.encoder(settings, reference), scale


def _write(report: Report, folder: Path) -> None:
    """Every file anew; figures that this evaluation has nothing for are left out."""
    from moderation.training.evaluation.model_card import model_card
    from moderation.training.evaluation.plot import falls, reliability

    measures = report.measures
    files = {
        "evaluation.json": json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "MODEL_CARD.md": model_card(report),
    }
    if measures.calibration is not None:
        files["reliability.svg"] = reliability(measures.calibration)
    if measures.robustness is not None:
        files["robustness.svg"] = falls(measures.robustness)
    for name, text in files.items():
        with terminal.replacing(folder / name) as stream:
            stream.write(text)


def _tell(report: Report, out: Path | None) -> None:
    from moderation.training.evaluation.report import rows

    found, encoder = report.set, report.encoder
    pictures = terminal.counted(found.pictures, "picture")
    terminal.say(f"encoder {encoder.name} on set {found.name}: {pictures}, {len(found.classes)} classes")
    if found.left_out:
        terminal.note(f"{terminal.counted(found.left_out, 'picture')} could not be decoded and are left out")
    lines = [
        (row.measure, f"{row.value:.3f}", _interval(row.low, row.high), _number(row.chance), row.count or "")
        for row in rows(report)
    ]
    terminal.table(("measure", "value", "95 % interval", "chance", "count"), lines)
    for name, why in report.not_measured.items():
        if why != "not asked for":
            terminal.say(f"not measured: {name.replace('_', ' ')}: {why}")
    if out is not None:
        terminal.say(f"wrote {out / 'MODEL_CARD.md'} and {out / 'evaluation.json'}")


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
