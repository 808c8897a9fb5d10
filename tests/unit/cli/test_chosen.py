"""Which plugins a command loads, and what is told of what they are asked."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.errors import ExitCode
from moderation.item import Modality, Part
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.plugin.registry import EncoderRequest
from moderation.policy.lock import write_lock
from moderation.settings import EncoderSettings, ImageLimits, Settings
from moderation.telemetry import TRACE, tracing
from tests.fakes import FakeDetector, FakeEncoder, FakeReader, Lived, lock, plugins_with
from tests.unit.cli.conftest import Run


@pytest.fixture
def weapons(tmp_path: Path) -> Path:
    path = tmp_path / "weapons.lock.json"
    write_lock(lock(detectors=("shapes",)), path)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings with which plugins were loaded; there is a detector that shies at the picture 0.5, and a reader."""

    def answer(batch: DetectionBatch) -> list[Detection]:
        shy = Abstention("too_shy")
        return [shy if part.content == b"0.5" else (Score("risk", float(part.content)),) for part in batch.parts]

    shapes = Lived("shapes")
    shapes.answer, shapes.modalities = answer, frozenset({Modality.IMAGE})
    reader = FakeReader(answer=lambda parts: [[Part.text("canary-77")]] * len(parts))
    record = PluginRecord("mine", "mine-dist", "1", PluginState.LOADED, detectors=("shapes",), readers=("ocr",))
    found: list[Settings] = []

    def plugins(settings: Settings) -> Plugins:
        found.append(settings)
        return replace(plugins_with(shapes, readers=[reader]), records=(record,))

    monkeypatch.setattr("moderation.assemble.plugins", plugins)
    return found


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    "words", [("plugin", "list"), ("plugin", "doctor"), ("plugin", "check"), ("scan", "PICTURE", "--policy", "LOCK")]
)
def test_every_command_that_loads_plugins_can_be_told_which(
    words: tuple[str, ...], asked: list[Settings], weapons: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_text("0.25")
    names = {"PICTURE": tmp_path / "a.png", "LOCK": weapons}
    run(*(names.get(word, word) for word in words), "--only", "mine", "--only", "other")
    run(*(names.get(word, word) for word in words))
    assert [one.plugins.only for one in asked] == [("mine", "other"), None]


@pytest.mark.usefixtures("encoder", "asked")
def test_a_trace_tells_who_was_asked_what_in_counts_and_no_content(
    weapons: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_READERS__USE", '["ocr"]')
    for name, content in (("a.png", "0.25"), ("b.png", "0.5"), ("c.png", "0.0")):
        (tmp_path / name).write_text(content)
    words = ("scan", *sorted(tmp_path.glob("*.png")), "--policy", weapons, "--json")
    code, out, err = run(*words, "--trace")
    told = [line for line in err.splitlines() if line.startswith("trace: ")]
    untimed = [
        " ".join("N" if word.replace(".", "").isdigit() and "." in word else word for word in line.split())
        for line in told
    ]
    assert (code, len(out.splitlines())) == (ExitCode.OK, 3)
    assert untimed == [
        "trace: shapes: setup took N ms",
        "trace: reader ocr: 3 parts in N ms: 3 read, 3 parts derived",
        "trace: detector shapes: 3 parts in N ms: 2 scored, 1 above 0, too_shy 1",
        "trace: detector weapons: 3 parts in N ms: 3 scored, 3 above 0",
        "trace: shapes: close",
    ]
    assert "canary" not in err
    assert "trace: " not in run(*words)[2]


def test_a_trace_tells_what_loading_an_encoder_took(capsys: pytest.CaptureFixture[str]) -> None:
    known = Plugins((), loaders={"mine": lambda _request: FakeEncoder()})
    with tracing(sys.stderr):
        known.loader("mine", needed_by="a test")(EncoderRequest(EncoderSettings(), ImageLimits()))
    assert capsys.readouterr().err.startswith("trace: loader mine: loading the encoder took ")


@pytest.mark.usefixtures("asked")
def test_a_trace_tells_faults_and_ends_with_its_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(_: DetectionBatch) -> Any:
        raise ValueError("canary-77")

    record = PluginRecord("mine", "mine-dist", "1", PluginState.LOADED, detectors=("bad",))
    known = replace(plugins_with(FakeDetector("bad", raising)), records=(record,))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: known)
    code, out, err = run("plugin", "check", "--trace", "--json")
    assert code == ExitCode.PLUGIN
    assert json.loads(out)["trials"][-1]["fault"] == "part 0: detector_error (ValueError)"
    (line,) = err.splitlines()
    assert line.endswith("ms: detector_error 6")
    assert "canary" not in err
    assert (TRACE.handlers, TRACE.level, TRACE.propagate) == ([], logging.NOTSET, True)
