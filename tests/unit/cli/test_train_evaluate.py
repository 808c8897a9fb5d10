"""Train evaluate on the command line: the bundled encoder on drawings, from files to table, JSON and card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moderation.cli.train_evaluate import MEASURES
from moderation.errors import ExitCode
from moderation.training.evaluation import measure
from moderation.training.evaluation.scenes import COLOURS, SHAPES, Placed, Thing, draw
from tests.unit.cli.conftest import Run


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of shapes in every colour at two sizes, see-through around them, and captions that name them."""
    root = tmp_path_factory.mktemp("shapes")
    rows = []
    for shape in SHAPES:
        (root / "set" / shape).mkdir(parents=True)
        for colour in COLOURS:
            for size in (0.2, 0.35):
                path = root / "set" / shape / f"{colour}-{size}.png"
                path.write_bytes(draw([Placed(Thing(colour, shape), 0.5, 0.5, size)]))
                see_through(path)
                rows.append({"path": str(path.relative_to(root)), "caption": f"a {colour} {shape} on a table, {size}"})
    (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def see_through(path: Path) -> None:
    picture = Image.open(path).convert("RGBA").resize((64, 64))
    pixels = np.array(picture)
    pixels[..., 3] = np.where(pixels[..., :3].min(axis=2) > 250, 0, 255)
    picture = Image.fromarray(pixels)
    picture.save(path)


def evaluated(run: Run, folder: Path, *more: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    code, out, err = run("train", "evaluate", "--out", folder, *more)
    assert code == ExitCode.OK, err
    assert str(folder / "MODEL_CARD.md") in out
    found: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return found


def test_figures_of_a_set_with_captions(run: Run, shapes: Path, tmp_path: Path) -> None:
    given = ("--data", shapes / "set", "--captions", shapes / "captions.jsonl")
    asked = [
        part
        for name in ("zero_shot", "retrieval", "linear_probe", "calibration", "captions")
        for part in ("--only", name)
    ]
    found = evaluated(run, tmp_path / "one", "bundled", *given, *asked)
    measures = found["measures"]
    assert found["set"]["pictures"] == found["set"]["captions"] == 32
    assert measures["zero_shot"]["top1"]["value"] > 0.5
    assert measures["zero_shot"]["top5"]["value"] == 1.0
    assert list(measures["retrieval"]["image_to_text"]["at"]) == ["1", "5", "10"]
    assert measures["calibration"]["scale"] == pytest.approx(found["encoder"]["scale"])
    assert measures["captions"].keys() == {"swapped", "negated"}
    assert found["not_measured"]["robustness"] == "not asked for"
    card = (tmp_path / "one" / "MODEL_CARD.md").read_text(encoding="utf-8")
    top = measures["zero_shot"]["top1"]
    assert f"| zero-shot top-1 | {top['value']:.3f} | {top['low']:.3f} to {top['high']:.3f} | 0.250 | 32 |" in card


def test_the_same_seed_gives_the_same_bytes(run: Run, shapes: Path, tmp_path: Path) -> None:
    given = ("--captions", shapes / "captions.jsonl", "--only", "captions", "--only", "retrieval")
    first, again = (evaluated(run, tmp_path / name, *given) for name in ("one", "two"))
    assert first == again != evaluated(run, tmp_path / "three", *given, "--seed", 8)
    cards = [(tmp_path / name / "MODEL_CARD.md").read_bytes() for name in ("one", "two")]
    assert cards[0] == cards[1]


def test_robustness_and_another_set(run: Run, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moderation.training.evaluation import robustness

    few = {name: robustness.CORRUPTIONS[name] for name in ("occlusion",)}
    monkeypatch.setattr(robustness, "CORRUPTIONS", few)
    given = ("--data", shapes / "set", "--shift", f"same={shapes / 'set'}", "--only", "robustness", "--sample", 2)
    found = evaluated(run, tmp_path / "out", *given)["measures"]["robustness"]
    assert [one["shift"] for one in found["corruptions"]] == ["occlusion"]
    assert all(len(one["by_severity"]) == 5 for one in found["corruptions"])
    assert len(found["styles"]) == 5
    assert found["grounds"][0]["change"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["grounds"][0]["shift"] == "white"
    assert (found["sets"][0]["relative"], found["sets"][0]["change"]) == (1.0, None)


def test_what_is_missing_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.training.evaluation.probe_runs.PROBES", {"negation": measured_probe})
    code, out, _ = run("train", "evaluate")
    assert code == ExitCode.OK
    assert "scenes: negation" in out
    assert "not measured: zero shot: no labelled set was given" in out
    assert "not measured: retrieval: no captioned set was given" in out
    assert "not measured: sugarcrepe: no --sugarcrepe was given" in out


def measured_probe() -> Any:
    from itertools import islice

    from moderation.training.evaluation.probes import PROBES

    return islice(PROBES["negation"](), 4)


def test_sugarcrepe_with_some_of_its_pictures(run: Run, shapes: Path, tmp_path: Path) -> None:
    def pair(filename: str) -> dict[str, str]:
        return {"filename": filename, "caption": "a red circle", "negative_caption": "a blue square"}

    (tmp_path / "crepe.json").write_text(
        json.dumps({"swap_att": {"0": pair("red-0.35.png"), "1": pair("../gone.jpg")}})
    )
    given = ("--sugarcrepe", tmp_path / "crepe.json", "--only", "sugarcrepe")
    found = evaluated(run, tmp_path / "out", *given, "--coco", shapes / "set" / "circle")["measures"]["sugarcrepe"]
    assert found["distance"]["swap_att"]["pairs"] == 2
    assert found["accuracy"]["swap_att"]["accuracy"]["count"] == 1
    without = evaluated(run, tmp_path / "out", *given)
    assert without["measures"]["sugarcrepe"]["accuracy"] == {}
    assert "COCO's val2017 pictures" in without["not_measured"]["SugarCrepe's accuracy"]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that commands run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "gone"], ExitCode.DATA, "gone: D000: no such file or folder; expected labelled pictures"),
        (["--captions", "gone.jsonl"], ExitCode.TRAINING, "gone.jsonl: No such file"),
        (["--sugarcrepe", "gone.json"], ExitCode.DATA, "cannot be read as SugarCrepe's JSON"),
        (["--only", "zeroshot"], ExitCode.USAGE, "'zeroshot'; expected one of zero_shot"),
        (["--shift", "sketches"], ExitCode.USAGE, "expected NAME=PATH"),
        (["--shift", "a=x", "--shift", "a=y"], ExitCode.USAGE, "'a' is there twice"),
        (["--coco", "gone"], ExitCode.USAGE, "gone is no folder"),
        (["./gone"], ExitCode.ENCODER, "there is no such folder"),
        (
            ["--only", "retrieval"],
            ExitCode.TRAINING,
            "nothing could be measured: retrieval: no captioned set was given",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_said(run: Run, empty: Path, arguments: list[str], code: int, message: str) -> None:
    assert not list(empty.iterdir())
    found, _, err = run("train", "evaluate", *arguments)
    assert found == code
    assert message in " ".join(err.replace("│", " ").split())


def test_labels_of_another_set_must_be_the_sets(run: Run, shapes: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "oval").mkdir(parents=True)
    (tmp_path / "other" / "oval" / "a.png").write_bytes(draw([]))
    code, _, err = run("train", "evaluate", "--data", shapes / "set", "--shift", f"new={tmp_path / 'other'}")
    assert code == ExitCode.TRAINING
    assert "shift 'new': found labels 'oval'; expected those of the set: circle, square" in err


def test_a_class_that_cannot_be_decoded_is_said(run: Run, tmp_path: Path) -> None:
    for label, content in (("a", draw([])), ("b", b"no picture")):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / "a.png").write_bytes(content)
    code, _, err = run("train", "evaluate", "--data", tmp_path / "set")
    assert (code, err) == (ExitCode.TRAINING, "error: set: no picture of 'b' could be decoded\n")


def test_the_help_names_every_measure() -> None:
    assert MEASURES.split(", ") == list(measure.MEASURES)


def test_a_misspelt_command_is_told_from_a_configuration(run: Run) -> None:
    code, _, err = run("train", "evalute")
    assert code == ExitCode.USAGE
    assert "did you mean 'evaluate'?" in err
