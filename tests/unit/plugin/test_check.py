"""`plugin check`: the promise that is broken is told by its step, and costs nobody else a look."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from moderation.cli.main import app
from moderation.decision import Abstention, Score
from moderation.detector.answers import TOLERANCE
from moderation.detector.base import DetectionBatch, Detector
from moderation.detector.imported import import_detector
from moderation.encoder.base import Encoded, Encoder
from moderation.errors import ExitCode, ItemError
from moderation.item import JUDGED, Modality, Part, unfetchable
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.plugin.check import STEPS, Trial, check
from moderation.plugin.samples import HOSTILE_FILES, HOSTILE_TEXTS, made_video
from moderation.plugin_sections import DetectorSettings, HeadSettings
from moderation.sections import FetchSettings
from moderation.settings import EncoderSettings, Settings
from tests.fakes import WIDTH, FakeDetector, FakeEncoder, FakeReader, Lived, plugins_with

Install = Callable[..., Path]
SETTINGS = Settings(detectors=DetectorSettings(timeout_seconds=0.5))


def never(name: str) -> Encoder:
    raise AssertionError(f"{name} is loaded, which takes seconds")


def fake(_name: str) -> Encoder:
    return FakeEncoder()


def trials(
    *detectors: Detector, readers: tuple[FakeReader, ...] = (), encoders: Callable[[str], Encoder] = never
) -> list[Trial]:
    known = plugins_with(*detectors, readers=readers)
    named = tuple(one.id for one in detectors), tuple(one.id for one in readers)
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, detectors=named[0], readers=named[1])
    return list(check(known, record, SETTINGS, encoders=encoders, named="default"))


def told(found: list[Trial]) -> dict[str, str]:
    return {one.step: one.fault for one in found}


def test_a_good_plugin_passes_every_step() -> None:
    one = Lived("one")
    assert told(trials(one)) == dict.fromkeys(STEPS, "")
    assert one.called == ["setup", "verify"]
    found = trials(
        FakeDetector("vectors", needs_embeddings=True),
        readers=(FakeReader(reads=tuple(Modality), yields=JUDGED),),
        encoders=fake,
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
    (found,) = check(plugins_with(sinks=(desk,)), record, SETTINGS, encoders=never, named="default")  # type: ignore[arg-type]
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

    assert told(trials(FakeDetector("one", answer, needs_embeddings=True), encoders=fake)) == dict.fromkeys(STEPS, "")
    assert shown == {WIDTH}
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


def test_a_reader_of_videos_is_shown_one_that_can_be_read() -> None:
    reader = FakeReader(reads=(Modality.VIDEO,))
    assert told(trials(readers=(reader,))) == dict.fromkeys(STEPS, "")
    assert reader.batches[0] == (Part.video(made_video()),)


def test_the_made_video_is_one() -> None:
    """Two pictures, the second lighter, as libav reads it."""
    with av.open(io.BytesIO(made_video())) as file:
        shades = [frame.to_ndarray(format="gray").mean() for frame in file.decode(video=0)]
    assert len(shades) == 2
    assert shades[1] > shades[0] + 100


class Odd(FakeEncoder):
    """Told by `spoilt` what to make of the vectors of which contents."""

    def __init__(self, spoil: Callable[[list[Any], Encoded], Encoded]) -> None:
        super().__init__()
        self.spoil = spoil

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return self.spoil(list(images), super().encode_images(images))

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        return self.spoil(list(texts), super().encode_text(texts))


def raising(contents: list[Any], found: Encoded) -> Encoded:
    if contents[0] in {"", b""}:
        raise ValueError("nothing there")
    return found


def by_place(_contents: list[Any], found: Encoded) -> Encoded:
    return Encoded(np.roll(found.vectors, 1, axis=0) if len(found.vectors) == 3 else found.vectors, found.errors)


def blaming(contents: list[Any], found: Encoded) -> Encoded:
    worst = {len(contents) - 1: ItemError("unsupported_input", "no")} if contents[0] in {"", b""} else {}
    return Encoded(found.vectors, {**found.errors, **worst})


ENCODERS: dict[str, tuple[Callable[[list[Any], Encoded], Encoded], str, str]] = {
    "good": (lambda _, found: found, "", ""),
    "of single precision": (
        lambda _, found: Encoded(found.vectors.astype(np.float32), found.errors),  # type: ignore[arg-type]
        "shape",
        "vectors are float32",
    ),
    "too long": (lambda _, found: Encoded(found.vectors * np.float16(2), found.errors), "shape", "not of length 1"),
    "too few": (
        lambda _, found: Encoded(found.vectors[1:], found.errors),
        "shape",
        f"vectors are float16 (2, {WIDTH})",
    ),
    "that looks at places": (by_place, "determinism", "the same contents have other vectors"),
    "that raises": (raising, "failure", "ValueError: nothing there"),
    "that blames another": (blaming, "failure", "a good content has an error beside hostile ones"),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_are_tried_where_the_settings_ask_for_them(name: str) -> None:
    spoil, step, fault = ENCODERS[name]
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, encoders=("odd", "unused"))
    settings = Settings(encoders={"strange": EncoderSettings(loader="odd"), "gone": EncoderSettings(loader="other")})
    asked: list[str] = []
    found = list(
        check(
            plugins_with(),
            record,
            settings,
            encoders=lambda name: asked.append(name) or Odd(spoil),  # type: ignore[func-returns-value]
            named="default",
        )
    )
    assert asked == ["strange"]
    assert {(one.kind, one.id) for one in found} == {("encoder", "odd (strange)"), ("encoder", "unused")}
    assert found[-1].untried == "no encoders.NAME of the settings has loader = 'unused'"
    tried = told(found[:-1])
    assert [one for one in tried if tried[one]] == ([step] if step else [])
    assert fault in tried[step or "life"]


def test_an_encoder_that_cannot_be_loaded_is_told() -> None:
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, encoders=("torch",))
    (found, *_) = check(plugins_with(), record, Settings(), encoders=never, named="default")
    assert (found.step, found.fault) == ("life", "AssertionError: default is loaded, which takes seconds")


class Shelf:
    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self.fetch = answer


def refusing(reference: str) -> bytes:
    raise unfetchable("no_reference", f"{len(reference)} characters")


def misnaming(reference: str) -> bytes:
    raise ItemError("unsupported_input", f"{len(reference)} characters")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (refusing, ""),
        (misnaming, "reason unsupported_input; expected unfetchable"),
        (lambda _: b"x", "it fetches what is no reference"),
        (lambda reference: {}[reference], "KeyError: ''"),
    ],
)
def test_fetchers_are_tried_where_the_settings_ask_for_them(answer: Callable[[str], bytes], fault: str) -> None:
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, fetchers=("shelf", "unused"))
    known = replace(plugins_with(), fetchers={"shelf": lambda _request: Shelf(answer)})
    settings = Settings(fetch={"shelf": FetchSettings(hosts=("box",))})
    found = list(check(known, record, settings, encoders=never, named="default"))
    assert [(one.id, one.step, one.fault) for one in found[:2]] == [
        ("shelf", "life", ""),
        ("shelf", "failure", fault),
    ]
    assert found[2].untried == "the settings have no section fetch.unused"


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


def test_the_command_says_what_was_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    record = PluginRecord("mine", "dist", "1", PluginState.LOADED, encoders=("odd",))
    code, out = run(monkeypatch, replace(plugins_with(), records=(record,)))
    assert code == ExitCode.OK
    assert "not tried" in out


def test_where_nothing_was_tried_there_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    code, out = run(monkeypatch, plugins_with(), "nosuch")
    assert (code, out) == (ExitCode.PLUGIN, "nosuch: no such plugin is installed\n")


def test_the_doctor_looks_at_who_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    records = (
        PluginRecord("mine", "dist", "1", PluginState.LOADED, detectors=("good",)),
        PluginRecord("ill", "dist", "1", PluginState.BROKEN, cause="cannot be imported: no module x"),
    )
    monkeypatch.setattr(
        "moderation.assemble.plugins", lambda _settings: replace(plugins_with(FakeDetector("good")), records=records)
    )

    def doctor(*ids: str) -> tuple[int, list[tuple[str, str, str]]]:
        done = CliRunner().invoke(app, ["plugin", "doctor", *ids, "--json"])
        rows = json.loads(done.stdout)["plugins"]
        return done.exit_code, [(row["id"], row["state"], row["cause"]) for row in rows]

    ill = ("ill", "broken", "cannot be imported: no module x")
    assert doctor("mine") == (ExitCode.OK, [("mine", "loaded", "")])
    assert doctor() == (ExitCode.PLUGIN, [("mine", "loaded", ""), ill])
    assert doctor("ill", "gone") == (ExitCode.PLUGIN, [ill, ("gone", "missing", "no such plugin is installed")])


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
