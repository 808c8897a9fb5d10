"""`plugin check`: the promise that is broken is told by its step, and costs nobody else a look."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from moderation.cli.main import app
from moderation.decision import Abstention, Score
from moderation.detector.answers import TOLERANCE
from moderation.detector.base import DetectionBatch, Detector
from moderation.detector.imported import import_detector
from moderation.errors import ExitCode
from moderation.item import JUDGED, Modality, Part
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.plugin.check import STEPS, Trial, check
from moderation.plugin.samples import HOSTILE_FILES, HOSTILE_TEXTS
from moderation.sections import HeadSettings
from moderation.settings import DetectorSettings, Settings
from tests.fakes import WIDTH, FakeDetector, FakeEncoder, FakeReader, Lived, plugins_with

Install = Callable[..., Path]
SETTINGS = Settings(detectors=DetectorSettings(timeout_seconds=0.5))


def never() -> int:
    raise AssertionError("asked of an encoder, whose loading takes seconds")


def trials(*detectors: Detector, readers: tuple[FakeReader, ...] = (), width: Callable[[], int] = never) -> list[Trial]:
    known = plugins_with(*detectors, readers=readers)
    named = tuple(one.id for one in detectors), tuple(one.id for one in readers)
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, detectors=named[0], readers=named[1])
    return list(check(known, record, SETTINGS, width=width))


def told(found: list[Trial]) -> dict[str, str]:
    return {one.step: one.fault for one in found}


def test_a_good_plugin_passes_every_step() -> None:
    one = Lived("one")
    assert told(trials(one)) == dict.fromkeys(STEPS, "")
    assert one.called == ["setup", "verify"]
    found = trials(
        FakeDetector("vectors", needs_embeddings=True),
        readers=(FakeReader(reads=tuple(Modality), yields=JUDGED),),
        width=lambda: 8,
    )
    assert [(one.kind, one.id, one.step, one.fault) for one in found] == [
        (kind, id_, step, "") for kind, id_ in (("detector", "vectors"), ("reader", "ocr")) for step in STEPS
    ]


@pytest.mark.parametrize("raised", [None, ValueError("no endpoint")])
def test_a_sink_is_set_up_and_told_of_no_decision_that_nobody_made(raised: Exception | None) -> None:
    class Desk(Lived):
        def deliver(self, *_: object) -> None:
            raise AssertionError

    desk = Desk("desk", **({"verify": raised} if raised else {}))
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, sinks=("desk",))
    (found,) = check(plugins_with(sinks=(desk,)), record, SETTINGS, width=lambda: 8)  # type: ignore[arg-type]
    assert (found.kind, found.id, found.step) == ("sink", "desk", STEPS[0])
    assert found.fault == ("verify failed: ValueError: no endpoint" if raised else "")
    assert desk.called == ["setup", "verify"]


def moody() -> Callable[[DetectionBatch], Any]:
    calls: list[int] = []

    def answer(batch: DetectionBatch) -> Any:
        calls.append(1)
        return [(Score("risk", 1 / len(calls)),)] * len(batch)

    return answer


def raising_on_empty(batch: DetectionBatch) -> Any:
    assert all(part.content for part in batch.parts)
    return [(Score("risk", 0.5),)] * len(batch)


def ranked(batch: DetectionBatch) -> Any:
    most = max(len(part.content) for part in batch.parts)
    return [(Score("risk", 0.5 if most < 1000 else 0.0),)] * len(batch)


@pytest.mark.parametrize(
    ("detector", "step", "fault"),
    [
        (Lived("bad", verify=ValueError("no gun")), "life", "verify failed: ValueError: no gun"),
        (FakeDetector("bad", lambda _: 1 / 0), "shape", "part 0: detector_error (ZeroDivisionError)"),
        (FakeDetector("bad", lambda batch: [()] * len(batch)), "shape", "part 0: bad_answer"),
        (FakeDetector("bad", moody()), "determinism", "the same parts have other answers"),
        (FakeDetector("bad", raising_on_empty), "failure", "part 0: detector_error (AssertionError)"),
        (FakeDetector("bad", ranked), "failure", "a part is judged otherwise beside hostile ones"),
    ],
)
def test_the_step_that_fails_is_told_and_those_after_it_are_left_out(
    detector: FakeDetector, step: str, fault: str
) -> None:
    found = trials(detector, FakeDetector("good"))
    bad = told([one for one in found if one.id == "bad"])
    assert list(bad) == list(STEPS[: STEPS.index(step) + 1])
    assert bad[step] == fault
    assert told([one for one in found if one.id == "good"]) == dict.fromkeys(STEPS, "")


def test_scores_may_differ_as_far_as_the_kit_lets_them() -> None:
    def trembling(by: float) -> FakeDetector:
        calls = itertools.count()
        return FakeDetector("one", lambda batch: [(Score("risk", 0.5 + by * (next(calls) % 2)),)] * len(batch))

    assert told(trials(trembling(TOLERANCE / 2))) == dict.fromkeys(STEPS, "")
    assert told(trials(trembling(TOLERANCE * 2)))["determinism"] == "the same parts have other answers"


def test_vectors_are_as_wide_as_the_encoders_and_a_heads_as_the_head(tmp_path: Path) -> None:
    shown: set[int] = set()

    def answer(batch: DetectionBatch) -> Any:
        assert batch.embeddings is not None
        shown.add(batch.embeddings.shape[1])
        return [(Score("risk", 0.5),)] * len(batch)

    assert told(trials(FakeDetector("one", answer, needs_embeddings=True), width=lambda: 8)) == dict.fromkeys(STEPS, "")
    assert shown == {8}
    np.savez(tmp_path / "head.npz", weight=np.ones((1, 24)), bias=np.zeros(1))
    settings = HeadSettings(
        kind="linear", path=str(tmp_path / "head.npz"), encoder="other", array="weight", bias="bias"
    )
    assert told(trials(import_detector("dull", settings))) == dict.fromkeys(STEPS, "")


def test_who_needs_scores_is_shown_that_nobody_was_asked() -> None:
    shown: list[Any] = []

    def answer(batch: DetectionBatch) -> Any:
        shown.extend(batch.scores or ())
        return [(Score("risk", 0.5),)] * len(batch)

    assert told(trials(FakeDetector("blend", answer, needs_scores=("keywords/gambling", "tone")))) == dict.fromkeys(
        STEPS, ""
    )
    assert all(one == {"keywords": Abstention("not_asked"), "tone": Abstention("not_asked")} for one in shown)


def test_everything_hostile_is_shown() -> None:
    seen: set[Part] = set()
    detector = FakeDetector(
        "one", lambda batch: seen.update(map(_plain, batch.parts)) or [(Score("risk", 0.1),)] * len(batch)
    )
    trials(detector)
    assert {part.content for part in seen} >= {*HOSTILE_FILES, *(text.encode() for text in HOSTILE_TEXTS)}


def _plain(part: Part) -> Part:
    return replace(part, name="")


def run(monkeypatch: pytest.MonkeyPatch, known: Plugins, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: known)
    done = CliRunner().invoke(app, ["plugin", "check", *arguments])
    return done.exit_code, done.stdout


def test_the_command_takes_the_width_of_the_encoder_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []
    asked: list[str] = []

    def encoder(_settings: Settings, name: str, **_more: Any) -> FakeEncoder:
        asked.append(name)
        return FakeEncoder()

    def answer(batch: DetectionBatch) -> Any:
        shown.append(batch.embeddings)
        return [(Score("risk", 0.5),)] * len(batch)

    monkeypatch.setattr("moderation.assemble.encoder", encoder)
    detector = FakeDetector("one", answer, needs_embeddings=True)
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, detectors=("one", "two"))
    two = FakeDetector("two", needs_embeddings=True)
    known = replace(plugins_with(detector, two), records=(record,))
    assert run(monkeypatch, known, "--encoder", "small")[0] == ExitCode.OK
    assert asked == ["small"]
    assert {one.shape[1] for one in shown} == {WIDTH}


def test_the_command_tells_trials_and_what_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    records = (
        PluginRecord("builtin", "moderation", "1", PluginState.LOADED),
        PluginRecord("mine", "dist", "1", PluginState.LOADED, detectors=("good",)),
        PluginRecord("gone", "dist", "1", PluginState.BROKEN, cause="cannot be imported: no module x"),
        PluginRecord("left", "dist", "1", PluginState.OFF),
    )
    known = replace(plugins_with(FakeDetector("good")), records=records)
    code, out = run(monkeypatch, known, "mine", "--json")
    assert code == ExitCode.OK
    assert [one["step"] for one in json.loads(out)["trials"]] == list(STEPS)
    code, out = run(monkeypatch, known)
    assert code == ExitCode.PLUGIN
    assert out.count("detector good") == len(STEPS)
    assert "gone: cannot be imported: no module x" in out
    code, out = run(monkeypatch, known, "nobody", "--json")
    assert (code, json.loads(out)["absent"]) == (ExitCode.PLUGIN, {"nobody": "no such plugin is installed"})
