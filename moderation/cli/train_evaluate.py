"""`moderation train evaluate`: an encoder measured, told as a table, one JSON file and a model card."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.cli.places import Json, a_folder

if TYPE_CHECKING:
    from moderation.encoder.base import Encoder
    from moderation.settings import Settings
    from moderation.training.evaluation.report import Report
    from moderation.training.evaluation.work import Request

MEASURES = "zero_shot, retrieval, linear_probe, calibration, robustness, scenes, captions, sugarcrepe"


Data = Annotated[
    Path | None,
    typer.Option("--data", help="Labelled pictures: a folder for each class, or a .jsonl or .csv of path and label."),
]
Captions = Annotated[
    list[Path] | None,
    typer.Option(
        "--captions",
        help="Pictures with captions, as a training run takes them: manifest, tar shards, dataset on disk; repeat for more.",
    ),
]
Shifts = Annotated[
    list[str] | None,
    typer.Option("--shift", metavar="NAME=PATH", help="Other pictures of the classes of --data; repeat for more."),
]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="MEASURE", help=f"Of {MEASURES}; repeat for more.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Write evaluation.json and MODEL_CARD.md to this folder.", file_okay=False, callback=a_folder
    ),
]


def evaluate(
    *,
    encoder: Annotated[
        str,
        typer.Argument(
            metavar="ENCODER", help="A checkpoint's folder, 'bundled', a hub id, or an encoder's name in the settings."
        ),
    ] = "bundled",
    data: Data = None,
    captions: Captions = None,
    shift: Shifts = None,
    only: Only = None,
    sugarcrepe: Annotated[
        Path | None, typer.Option("--sugarcrepe", help="SugarCrepe's JSON file, gzipped or not.")
    ] = None,
    coco: Annotated[Path | None, typer.Option("--coco", help="COCO's val2017 pictures, for SugarCrepe.")] = None,
    sample: Annotated[
        int, typer.Option("--sample", help="Pictures under corruptions, styles and grounds, at most.", min=1)
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", help="What every draw comes from.", min=0)] = 7,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Measure an encoder: zero-shot, retrieval, linear probe, calibration, robustness, and probes of what captions mean.

    What cannot be measured of what was given is left out, and said. A line of a .jsonl:
    {"path": "a.jpg", "label": "hat", "captions": ["a red hat"], "cluster": "shop 7"}; clusters name what pictures share.

    Example: moderation train evaluate bundled --data pictures/ --captions pairs.jsonl --out evaluation/
    """
    from moderation.settings import load_settings
    from moderation.training.evaluation.measure import evaluate as measure
    from moderation.training.evaluation.sugarcrepe import read_pairs

    settings = load_settings()
    if coco is not None and not coco.is_dir():
        raise typer.BadParameter(f"{coco} is no folder; expected COCO's val2017 pictures", param_hint="--coco")
    request = replace(
        _request(settings, data, captions, shift or [], only or []),
        sample=sample,
        seed=seed,
        sugarcrepe=read_pairs(sugarcrepe) if sugarcrepe else {},
        coco=coco,
        scale=_scale(encoder, settings),
    )
    with terminal.working("loading the encoder"):
        loaded = _load(encoder, settings)
    report = measure(loaded, request, progress=terminal.progress)
    if out is not None:
        _write(report, out)
    if as_json:
        terminal.emit(report.to_dict())
    else:
        _tell(report, out)


def _request(
    settings: Settings, data: Path | None, captions: list[Path] | None, shifts: list[str], only: list[str]
) -> Request:
    """What to measure, and on which pictures. Names are looked at before any file is."""
    from moderation.training.evaluation.picture_set import open_set
    from moderation.training.evaluation.work import Request
    from moderation.training.places import open_pairs

    chosen, others = _measures(only), _shifts(shifts)
    return Request(
        open_set(data) if data else None,
        open_pairs(captions, limits=settings.images) if captions else None,
        shifts={name: open_set(path) for name, path in others.items()},
        only=chosen,
        limits=settings.images,
    )


def _measures(only: list[str]) -> frozenset[str]:
    known = MEASURES.split(", ")
    for name in only:
        if name not in known:
            raise typer.BadParameter(f"{name!r}; expected one of {MEASURES}", param_hint="--only")
    return frozenset(only)


def _shifts(given: list[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for one in given:
        name, _, path = one.partition("=")
        if not (name and path):
            raise typer.BadParameter(f"{one!r}; expected NAME=PATH", param_hint="--shift")
        if name in found:
            raise typer.BadParameter(f"{name!r} is there twice; expected a name for each", param_hint="--shift")
        found[name] = Path(path)
    return found


def _named(reference: str, settings: Settings) -> Settings:
    """Settings in which the reference names an encoder: one of theirs, else a checkpoint that runs as the default does."""
    if reference in settings.encoders:
        return settings
    wanted = settings.encoders["default"].model_copy(update={"loader": "torch", "checkpoint": reference})
    return settings.model_copy(update={"encoders": {**settings.encoders, reference: wanted}})


def _load(reference: str, settings: Settings) -> Encoder:
    from moderation import assemble

    return assemble.encoder(_named(reference, settings), reference)


def _scale(reference: str, settings: Settings) -> float | None:
    """The exponential of the log scale that CLIP and SigLIP keep among their weights; None where there is none to read."""
    from safetensors import safe_open

    from moderation.encoder.locate import locate, weight_files

    wanted = _named(reference, settings).encoders[reference]
    for path in weight_files(locate(wanted.checkpoint)) if wanted.loader == "torch" else ():
        with safe_open(path, "numpy") as weights:
            if "logit_scale" in weights.keys():  # noqa: SIM118 - not a mapping
                return math.exp(float(weights.get_tensor("logit_scale").reshape(-1)[0]))
    return None


def _write(report: Report, folder: Path) -> None:
    from moderation.training.evaluation.model_card import model_card

    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, content in (("evaluation.json", text), ("MODEL_CARD.md", model_card(report))):
        with terminal.replacing(folder / name) as stream:
            stream.write(content)


def _tell(report: Report, out: Path | None) -> None:
    from moderation.training.evaluation.report import COLUMNS, cells, rows

    found = report.set
    pictures = terminal.counted(found.pictures, "picture")
    terminal.say(
        f"encoder {report.encoder.name}: {pictures} in {len(found.classes)} classes, {terminal.counted(found.captions, 'caption')}"
    )
    if found.left_out:
        terminal.note(f"{terminal.counted(found.left_out, 'picture or pair')} could not be read and are left out")
    terminal.table(COLUMNS, [cells(row) for row in rows(report)])
    for name, why in report.not_measured.items():
        if why != "not asked for":
            terminal.say(f"not measured: {name.replace('_', ' ')}: {why}")
    if out is not None:
        terminal.say(f"wrote {out / 'MODEL_CARD.md'} and {out / 'evaluation.json'}")
