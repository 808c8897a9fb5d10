"""Plugins in processes of their own, real ones: they crash, hang, swallow memory and print, and we go on; well-behaved ones score as they do here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch, Detector
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.life import set_up
from moderation.detector.runner import Runner
from moderation.errors import PluginError, SettingsError
from moderation.item import JUDGED, Modality, Part
from moderation.plugin import manager
from moderation.plugin.brought import Plugins, PluginState
from moderation.plugin_sections import DetectorSettings
from tests.conftest import ROOT

Install = Callable[..., Path]

HEAD = """
import ctypes, hashlib, os, sys, time
from moderation import Abstention, DetectionBatch, Modality, Score, hookimpl

class One:
    labels = ("risk",)
    modalities = frozenset({Modality.IMAGE, Modality.TEXT})
    needs_embeddings = True
    def __init__(self, id):
        self.id = id
    def detect(self, batch):
        content = batch.parts[0].content
        if content.startswith(b"do "):
            exec(content[3:].decode())
        return [self.score(part, batch) for part in batch.parts]
    def score(self, part, batch):
        told = repr((part, part.content, batch.embeddings is not None and batch.embeddings.tolist()))
        return (Score("risk", 0.1 + len(part.content) / 1e6, concept=hashlib.sha256(told.encode()).hexdigest()),)
"""
WILD = f"""{HEAD}
@hookimpl
def register_detectors(registry):
    registry.add(One("wild"))
    registry.add(One("twin"))
"""


def load(*only: str, isolated: tuple[str, ...] = (), memory_bytes: int = 0, **more: Any) -> Plugins:
    return manager.load(only, isolated=isolated, memory_bytes=memory_bytes, **more)


def start(plugins: Plugins) -> None:
    for one in plugins.detectors.values():
        set_up(one)


def ended(plugins: Plugins) -> None:
    for one in plugins.detectors.values():
        if isinstance(one, IsolatedDetector):
            one.close()


@pytest.fixture(scope="module")
def wild(install_once: Install) -> Iterator[Plugins]:
    install_once("wild-dist", {"wild": "wild_module"}, wild_module=WILD)
    plugins = load("wild", isolated=("wild",), memory_bytes=6 << 30)
    start(plugins)
    yield plugins
    ended(plugins)


@pytest.fixture
def runner(wild: Plugins) -> Runner:
    settings = DetectorSettings(timeout_seconds=30.0, faults_before_quarantine=1000)
    return Runner(wild.detectors.values(), settings=settings)


def batch(*texts: str) -> DetectionBatch:
    return DetectionBatch(tuple(map(Part.text, texts)))


def judge(runner: Runner, *texts: str, by: str = "wild") -> tuple[Detection, ...]:
    return runner.run({by: batch(*texts)})[by]


def told(answers: tuple[Detection, ...]) -> list[str]:
    return [f"{one.reason} {one.cause}".strip() if isinstance(one, Abstention) else "scored" for one in answers]


def mixed() -> DetectionBatch:
    parts = (
        Part.text("Ünïcode", name="title"),
        Part.image(bytes(range(256)) * 999),
        Part(Modality.TEXT, b"", "\ud800", "a"),
    )
    vectors = np.random.default_rng(1).normal(size=(3, 512)).astype(np.float16)
    return DetectionBatch(parts, vectors)


def test_nothing_of_it_is_imported_here_and_it_is_on_record(wild: Plugins) -> None:
    assert "wild_module" not in sys.modules
    (record,) = (one for one in wild.records if one.id == "wild")
    assert (record.state, record.detectors, record.isolated) == (PluginState.LOADED, ("wild", "twin"), True)
    assert record.distribution == "wild-dist"
    detector = wild.detector("wild", needed_by="a policy")
    assert isinstance(detector, IsolatedDetector)
    assert (detector.labels, detector.modalities, detector.needs_embeddings) == (("risk",), frozenset(JUDGED), True)


def test_it_sees_and_says_the_same_as_without_a_process(install: Install, runner: Runner) -> None:
    install("here-dist", {"here": "here_module"}, here_module=WILD)
    here = load("here").detector("wild", needed_by="a test")
    for one in (mixed(), batch("one"), batch(*map(str, range(2000)))):
        assert runner.run({"wild": one})["wild"] == Runner([here]).run({"wild": one})["wild"]
        assert told(runner.run({"wild": one})["wild"]) == ["scored"] * len(one)


def test_the_shipped_example_says_the_same_as_without_a_process(install: Install) -> None:
    source = (ROOT / "plugins/moderation-keywords/moderation_keywords.py").read_text(encoding="utf-8")
    install("example-dist", {"example": "example_module"}, example_module=source)
    here, there = load("example"), load("example", isolated=("*",))
    texts = batch(
        "Claim your CASINO BONUS now", "50 free spins!", "The free spinster", "", *("a walk in the park",) * 50
    )
    answers = [Runner(one.detectors.values()).run({"keywords": texts})["keywords"] for one in (here, there)]
    ended(there)
    assert answers[0] == answers[1]
    assert [one[0].value for one in answers[1][:4] if isinstance(one, tuple)] == [1.0, 1.0, 0.0, 0.0]


FAULTS = {
    "raise ValueError('canary')": "detector_error ValueError",
    "raise SystemExit": "detector_error SystemExit",
    "bytearray(8 << 30)": "detector_error MemoryError",
    "os.abort()": "detector_error SIGABRT",
    "os._exit(3)": "detector_error exit_3",
    "ctypes.string_at(0)": "detector_error SIGSEGV",
    "ctypes.CDLL(None).exit(0)": "detector_error exit_0",
    "self.score = lambda part, batch: 0.5": "bad_answer",
}
LIVES_ON = {"raise ValueError('canary')", "raise SystemExit", "bytearray(8 << 30)"}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_an_abstention_that_says_how_and_the_next_batch_is_judged(
    wild: Plugins, runner: Runner, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    detector = wild.detectors["wild"]
    assert isinstance(detector, IsolatedDetector)
    before = detector.starts
    answers = judge(runner, f"do {code}", "another")
    assert told(answers) == [FAULTS[code]] * 2
    assert "canary" not in repr(answers) + "".join(capfd.readouterr())
    if code.startswith("self"):
        detector.close()  # it would go on so
    assert told(judge(runner, "good")) == ["scored"]
    assert detector.starts == before + (code not in LIVES_ON)
    assert runner.counts()["wild"].faults == {FAULTS[code].split()[0]: 1}


def test_trap_27_what_it_prints_goes_nowhere(runner: Runner, capfd: pytest.CaptureFixture[str]) -> None:
    shout = "print('canary' * 100000); os.system('echo canary; echo canary >&2'); ctypes.CDLL(None).puts(b'canary')"
    assert told(judge(runner, f"do {shout}; import logging; logging.error('canary')")) == ["scored"]
    assert told(judge(runner, "good")) == ["scored"]
    assert "canary" not in "".join(capfd.readouterr())


def test_a_hang_ends_at_the_deadline_and_in_the_end_in_quarantine(wild: Plugins) -> None:
    settings = DetectorSettings(timeout_seconds=1.0, faults_before_quarantine=1, quarantine_seconds=0.5)
    runner = Runner(wild.detectors.values(), settings=settings)
    start(wild)
    began = time.monotonic()
    assert told(judge(runner, "do time.sleep(100)")) == ["detector_timeout"]
    assert time.monotonic() - began < 20.0
    assert told(judge(runner, "good")) == ["quarantined"]
    time.sleep(0.6)
    start(wild)
    assert told(judge(runner, "good")) == ["scored"]
    assert not runner.counts()["wild"].quarantined


def test_two_of_them_work_at_the_same_time_and_ours_meanwhile(runner: Runner, wild: Plugins, tmp_path: Path) -> None:
    class Ours:
        id, labels, modalities, needs_embeddings = "ours", ("risk",), frozenset(JUDGED), False

        def detect(self, given: DetectionBatch) -> list[Detection]:
            meet("ours")
            return [(Score("risk", 0.5),)] * len(given)

    def meet(name: str) -> None:
        (tmp_path / name).touch()
        while len(list(tmp_path.iterdir())) < 3:
            time.sleep(0.01)

    # Each waits for the others: one after the other, none would ever answer.
    code = f"open(os.path.join({str(tmp_path)!r}, self.id), 'w').close()\nwhile len(os.listdir({str(tmp_path)!r})) < 3: time.sleep(0.01)"
    ours: Detector = Ours()
    both = Runner([*wild.detectors.values(), ours], trusted={"ours"}, settings=DetectorSettings(timeout_seconds=60.0))
    answers = both.run({"wild": batch(f"do {code}"), "twin": batch(f"do {code}"), "ours": batch("x")})
    assert {id_: told(one) for id_, one in answers.items()} == {id_: ["scored"] for id_ in both.counts()}


def test_what_is_told_to_the_whole_service_is_not_for_it(runner: Runner, tmp_path: Path) -> None:
    def pid() -> int:
        assert told(judge(runner, f"do open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))")) == ["scored"]
        return int((tmp_path / "pid").read_text())

    first = pid()
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(first, one)  # as systemd does with a whole unit, and the terminal
    assert pid() == first
    assert os.getpgid(first) == first != os.getpgrp()


PARENT = """
import sys
from moderation.detector.base import DetectionBatch
from moderation.detector.life import set_up
from moderation.detector.runner import Runner
from moderation.item import Part
from moderation.plugin import manager
from moderation.plugin_sections import DetectorSettings
detectors = manager.load(("wild",), isolated=("wild",)).detectors.values()
Runner(detectors, settings=DetectorSettings(timeout_seconds=100.0)).run({"wild": DetectionBatch((Part.text(sys.argv[1]),))})
"""
# Asleep in native code that holds the interpreter, deaf to every signal that can be, beside a process of its own.
STUCK = """
import signal
for one in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(one, signal.SIG_IGN)
child = os.fork()
open(FOLDER + "/" + str(os.getpid()), "w").close()
ctypes.PyDLL(None).sleep(1000)
"""


@pytest.mark.usefixtures("wild")
def test_a_parent_that_is_killed_leaves_nobody_behind(tmp_path: Path) -> None:
    code = f"do {STUCK.replace('FOLDER', repr(str(tmp_path)))}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, code], cwd=ROOT, env=environment)
    end = time.monotonic() + 60.0
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < end
        time.sleep(0.01)
    left = [int(one.name) for one in tmp_path.iterdir()]
    time.sleep(0.1)
    assert all(running(one) for one in left)
    parent.kill()
    parent.wait()
    end = time.monotonic() + 1.0
    while any(running(one) for one in left):
        assert time.monotonic() < end, "still there after a second"
        time.sleep(0.01)


def running(pid: int) -> bool:
    """Whether it is there and no zombie: orphans are waited for by init, whenever that finds the time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


BROKEN = {
    "import os; os.abort()": "its process ended with SIGABRT before it said what it brings",
    "import os; os._exit(0)": "its process ended with exit_0 before it said what it brings",
    "raise ImportError('no such library')": "cannot be imported: ImportError: no such library",
    f"{HEAD}\n@hookimpl\ndef register_encoders(registry): registry.add('mine', lambda request: request)": (
        "brings mine; only detectors and readers can be isolated"
    ),
    f"{HEAD}\nOne.labels = ('No Label',)\n@hookimpl\ndef register_detectors(registry): registry.add(One('mine'))": (
        "detector 'mine' has a wrong labels"
    ),
}


@pytest.mark.parametrize("source", BROKEN, ids=BROKEN.values())
def test_trap_02_a_plugin_that_cannot_be_had_is_broken_and_the_others_go_on(install: Install, source: str) -> None:
    install("bad-dist", {"bad": "bad_module"}, bad_module=source)
    plugins = load("bad", isolated=("bad",))
    (record,) = (one for one in plugins.records if one.id == "bad")
    assert (record.state, record.isolated) == (PluginState.BROKEN, True)
    assert BROKEN[source] in record.cause
    assert "torch" in plugins.loaders
    assert plugins.detectors == {}


# Whoever was waited for alone, before the next one is started, would wait here for ever.
MEETING = """
import pathlib, time
from moderation import DetectionBatch, Modality, Score, hookimpl
here, there = (pathlib.Path(FOLDER) / name for name in NAMES)
here.touch()
end = time.monotonic() + 20.0
while not there.exists():
    assert time.monotonic() < end, "alone"
    time.sleep(0.01)

@hookimpl
def register_detectors(registry): pass
"""


def test_their_processes_are_asked_side_by_side(install: Install, tmp_path: Path) -> None:
    for one, other in (("first", "second"), ("second", "first")):
        source = f"FOLDER, NAMES = {str(tmp_path)!r}, {(one, other)!r}\n{MEETING}"
        install(f"{one}-dist", {one: f"{one}_module"}, **{f"{one}_module": source})
    found = load("first", "second", isolated=("first", "second")).records
    assert {one.id: (one.state, one.cause) for one in found if one.isolated} == {
        "first": (PluginState.LOADED, ""),
        "second": (PluginState.LOADED, ""),
    }


@pytest.mark.usefixtures("wild")
def test_a_name_that_is_not_installed_is_refused_for_who_was_meant_would_run_here() -> None:
    with pytest.raises(SettingsError, match=r"plugins\.isolated: no plugin 'wiled' is installed; did you mean 'wild'"):
        load(isolated=("wiled",))


LIVED = f"""{HEAD}
class Lived(One):
    def setup(self):
        open(os.path.join(FOLDER, f"{{self.id}}-{{os.getpid()}}"), "w").close()
        if os.path.exists(os.path.join(FOLDER, "broken")):
            raise OSError("no index")
@hookimpl
def register_detectors(registry):
    registry.add(Lived("wild"))
    registry.add(Lived("twin"))
"""


def test_it_is_set_up_in_its_own_process_alone_and_again_in_a_fresh_one(install: Install, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    install("lived-dist", {"lived": "lived_module"}, lived_module=f"FOLDER = {str(folder)!r}\n{LIVED}")
    plugins = load("lived", isolated=("lived",))
    assert list(folder.iterdir()) == []  # registering sets nothing up
    with closing(plugins):
        plugins.set_up([plugins.detectors["wild"]], {"wild": "policy 'p'"})
        runner = Runner(plugins.detectors.values(), settings=DetectorSettings(timeout_seconds=60.0))
        assert told(judge(runner, "good")) == ["scored"]
        assert [one.name.partition("-")[0] for one in folder.iterdir()] == ["wild"]
        judge(runner, "do os.abort()")
        assert told(judge(runner, "good")) == ["scored"]
        assert [one.name.partition("-")[0] for one in folder.iterdir()] == ["wild", "wild"]
        (folder / "broken").touch()
        judge(runner, "do os.abort()")
        assert told(judge(runner, "good")) == ["detector_error SetupError"]
        with pytest.raises(
            PluginError, match=r"policy 'q' needs the detector 'twin', .*: setup failed: OSError: no index"
        ):
            plugins.set_up([plugins.detectors["twin"]], {"twin": "policy 'q'"})


LISTED = f"""{HEAD}
class Listed(One):
    def setup(self):
        self.revision = open(os.path.join(FOLDER, "list")).read()
@hookimpl
def register_detectors(registry):
    registry.add(Listed("listed"))
"""


def test_its_revision_comes_with_its_answers_also_from_a_fresh_process(install: Install, tmp_path: Path) -> None:
    install("listed-dist", {"listed": "listed_module"}, listed_module=f"FOLDER = {str(tmp_path)!r}\n{LISTED}")
    (tmp_path / "list").write_text("first")
    with closing(load("listed", isolated=("listed",))) as plugins:
        plugins.set_up(plugins.detectors.values(), {"listed": "policy 'p'"})
        runner = Runner(plugins.detectors.values(), settings=DetectorSettings(timeout_seconds=60.0))
        (tmp_path / "list").write_text("second")
        judge(runner, "good", by="listed")
        assert runner.revisions == {"listed": "first"}
        judge(runner, "do os.abort()", by="listed")
        judge(runner, "good", by="listed")
        assert runner.revisions == {"listed": "second"}


SETTLED = """
from moderation import DetectionBatch, Modality, Score, hookimpl
from moderation.errors import PluginError

class Settled:
    id, labels, modalities, needs_embeddings = "settled", ("risk",), frozenset({Modality.TEXT}), False
    def __init__(self, value):
        self.value = value
    def detect(self, batch):
        return [(Score("risk", self.value),) for _ in batch.parts]

@hookimpl
def register_detectors(registry):
    if registry.settings.keys() - {"value", "key"}:
        raise PluginError(registry.plugin, "it does not understand its settings")
    said = registry.folder / "value.txt"
    registry.add(Settled(float(said.read_text()) if said.exists() else registry.settings.get("value", 0.0)))
"""


@pytest.mark.parametrize("isolated", [(), ("settled",)])
def test_a_plugin_gets_the_settings_of_its_own(install: Install, isolated: tuple[str, ...]) -> None:
    install("settled-dist", {"settled": "settled_module"}, settled_module=SETTLED)
    for settings, value in (({}, 0.0), ({"settled": {"value": 0.25, "key": "canary" * 20_000}}, 0.25)):
        known = load("settled", isolated=isolated, settings=settings)
        (answer,) = Runner(known.detectors.values()).run({"settled": batch("one")})["settled"]
        ended(known)
        assert answer == (Score("risk", value),)
    broken = load("settled", isolated=isolated, settings={"settled": {"valve": 1}})
    (record,) = (one for one in broken.records if one.id == "settled")
    assert record.state == PluginState.BROKEN
    assert record.cause.endswith("it does not understand its settings")


@pytest.mark.parametrize("isolated", [(), ("settled",)])
def test_a_plugin_is_told_from_where_its_paths_are_meant(
    install: Install, isolated: tuple[str, ...], tmp_path: Path
) -> None:
    install("settled-dist", {"settled": "settled_module"}, settled_module=SETTLED)
    (tmp_path / "value.txt").write_text("0.75", encoding="utf-8")
    known = load("settled", isolated=isolated, folder=tmp_path)
    (answer,) = Runner(known.detectors.values()).run({"settled": batch("one")})["settled"]
    ended(known)
    assert answer == (Score("risk", 0.75),)


def test_settings_of_who_is_not_installed_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"plugins.settings: no plugin 'absent' is installed"):
        manager.load(settings={"absent": {}})
