"""Readers in processes of their own, real ones: they crash, hang and raise, and we go on; well-behaved ones derive what they do here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from moderation.decision import Abstention
from moderation.detector.life import set_up
from moderation.item import ContentItem, Modality, Part
from moderation.plugin import manager
from moderation.plugin.brought import Plugins, PluginState
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import Reading
from moderation.reader.isolated import IsolatedReader
from moderation.reader.step import ReaderRunner, Readers

Install = Callable[..., Path]
GIGABYTES = 6 << 30

SOURCE = """
import ctypes, os, time
from moderation import Abstention, Modality, Part, Score, hookimpl

class Words:
    id = "words"
    reads = frozenset({Modality.VIDEO, Modality.TEXT})
    yields = frozenset({Modality.IMAGE, Modality.TEXT})
    revision = "early"
    def setup(self):
        self.revision = "ready"
    def read(self, parts):
        for part in parts:
            if part.content.startswith(b"do "):
                exec(part.content[3:].decode())
        return [self.one(part) for part in parts]
    def one(self, part):
        if not part.content:
            return Abstention("nothing_there", cause="empty")
        if part.content == b"bad":
            return [Part.text("x", name="not a name that is \\u00fcseful")]
        number = int(part.content) if part.content.isdigit() else 2
        told = f"{part.modality} {part.name} {part.source} {part.reader} {part.region}"
        return [Part(Modality.IMAGE, bytes(256) * n, f"n={n}", region=(0.0, 0.25, 1 / 3, 1.0)) for n in range(number)] + [Part.text(told)]

class Same:
    id = "words"
    labels, modalities, needs_embeddings = ("risk",), frozenset({Modality.TEXT}), False
    def detect(self, batch):
        return [(Score("risk", 0.5),) for _ in batch.parts]

@hookimpl
def register_readers(registry):
    registry.add(Words())

@hookimpl
def register_detectors(registry):
    registry.add(Same())
"""


@pytest.fixture(scope="module")
def here(install_once: Install) -> Plugins:
    install_once("words-dist", {"words": "words_module"}, words_module=SOURCE)
    return manager.load(("words",))


@pytest.fixture(scope="module")
def apart(here: Plugins) -> Iterator[Plugins]:
    assert here
    plugins = manager.load(("words",), isolated=("words",), memory_bytes=GIGABYTES)
    set_up(plugins.readers["words"])
    yield plugins
    for one in (*plugins.readers.values(), *plugins.detectors.values()):
        if hasattr(one, "close"):
            one.close()


def runner(plugins: Plugins, **settings: float) -> ReaderRunner:
    told = {"timeout_seconds": 30.0, "faults_before_quarantine": 1000, **settings}
    return ReaderRunner([plugins.readers["words"]], ReaderSettings.model_validate(told), earlier=None)


def read(runner: ReaderRunner, *contents: str | Part) -> tuple[Reading, ...]:
    parts = tuple(Part.text(one) if isinstance(one, str) else one for one in contents)
    return runner.run({"words": parts})["words"]


def told(readings: Sequence[Reading]) -> list[str]:
    return [f"{one.reason} {one.cause}".strip() if isinstance(one, Abstention) else "read" for one in readings]


def test_it_stands_in_for_its_plugin_which_is_imported_nowhere_here(apart: Plugins) -> None:
    (record,) = (one for one in apart.records if one.id == "words")
    assert (record.state, record.isolated, record.readers, record.detectors, record.hooks) == (
        PluginState.LOADED, True, ("words",), ("words",), ("register_detectors", "register_readers"),
    )  # fmt: skip
    reader = apart.readers["words"]
    assert isinstance(reader, IsolatedReader)
    assert (reader.reads, reader.yields, reader.crops) == (
        {Modality.VIDEO, Modality.TEXT}, {Modality.IMAGE, Modality.TEXT}, False,
    )  # fmt: skip
    assert apart.can_be_isolated(record)


def test_its_revision_is_that_of_the_process_that_is_set_up(here: Plugins) -> None:
    assert here
    reader = manager.load(("words",), isolated=("words",)).readers["words"]
    assert getattr(reader, "revision", "") == "early"
    set_up(reader)
    assert getattr(reader, "revision", "") == "ready"
    reader.close()  # type: ignore[attr-defined]


def test_it_may_take_up_another_revision_under_way_or_state_none_any_more(apart: Plugins) -> None:
    running = runner(apart)
    for told in ("later", "", "ready"):
        read(running, f"do self.revision = {told!r}")
        assert running.revisions == {"words": told}


def test_it_derives_what_it_does_without_a_process(here: Plugins, apart: Plugins) -> None:
    set_up(here.readers["words"])
    contents = (
        "one", "", "0", "bad", "100",
        Part(Modality.VIDEO, bytes(3_000_000), "clip", "part-0", reader="video", region=(0.0, 0.0, 0.5, 1.0)),
    )  # fmt: skip
    for limits in ({}, {"most_parts": 2}, {"most_parts": 200}, {"most_bytes": 300}):
        found = [read(runner(one, **limits), *contents) for one in (here, apart)]
        assert found[0] == found[1]
    assert told(found[1]) == [
        "read", "nothing_there empty", "read", "bad_answer", "unsupported_input too_many_parts", "read",
    ]  # fmt: skip


FAULTS = {
    "raise ValueError('canary')": "reader_error ValueError",
    "raise SystemExit": "reader_error SystemExit",
    "bytearray(8 << 30)": "reader_error MemoryError",
    "ctypes.string_at(0)": "reader_error SIGSEGV",
    "os._exit(3)": "reader_error exit_3",
    "self.one = lambda part: 0.5": "bad_answer",
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_is_an_abstention_that_says_how_and_the_next_batch_is_read(
    apart: Plugins, code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    reader = apart.readers["words"]
    assert isinstance(reader, IsolatedReader)
    before, running = reader.starts, runner(apart)
    assert told(read(running, f"do {code}", "another")) == [FAULTS[code]] * 2
    assert running.counts()["words"].faults == {FAULTS[code].split()[0]: 1}
    if code.startswith("self"):
        reader.close()  # it would go on so
    assert told(read(running, "good")) == ["read"]
    assert reader.starts == before + (FAULTS[code].split()[-1] in {"SIGSEGV", "exit_3", "bad_answer"})
    assert "canary" not in "".join(capfd.readouterr())


def test_who_derives_more_from_a_batch_than_all_of_it_may_have_keeps_what_fits(apart: Plugins) -> None:
    contents = ("3", "4", "3", "0")  # of 768 bytes, 1,536, 768 and none, and of texts of a dozen
    assert told(read(runner(apart, most_bytes=1600, most_batch_bytes=1700), *contents)) == [
        "read", "unsupported_input too_many_batch_bytes", "read", "read",
    ]  # fmt: skip
    assert told(read(runner(apart, most_bytes=1600), *contents)) == ["read"] * 4


def test_who_answers_more_than_that_is_not_listened_to(apart: Plugins) -> None:
    """By its defaults forty parts might have had four gigabytes; nobody waits for them, and the next batch is read."""
    lies = "import struct, sys; os.write(int(sys.argv[-2]), struct.pack('!I', 1_100_000_000)); time.sleep(100)"
    running, began = runner(apart, timeout_seconds=60.0), time.monotonic()
    assert set(told(read(running, f"do {lies}", *["other"] * 39))) == {"bad_answer"}
    assert time.monotonic() - began < 30.0
    assert running.counts()["words"].faults == {"bad_answer": 1}
    assert told(read(running, "good")) == ["read"]


def test_trap_04_who_hangs_is_killed_at_the_deadline_and_counted(apart: Plugins) -> None:
    running = runner(apart, timeout_seconds=1.0)
    set_up(apart.readers["words"])
    before = running.counts()["words"].restarts
    began = time.monotonic()
    assert told(read(running, "do time.sleep(100)")) == ["reader_timeout"]
    assert time.monotonic() - began < 20.0
    set_up(apart.readers["words"])
    assert told(read(running, "good")) == ["read"]
    assert running.counts()["words"].restarts == before + 1


def test_what_kills_it_is_an_error_of_its_item_and_the_video_stays_under_every_policy(apart: Plugins) -> None:
    items = [ContentItem("1", (Part.video(b"do os.abort()", name="clip"),)), ContentItem("2", (Part.text("x"),))]
    settings = ReaderSettings(use=("words",))
    found = Readers([apart.readers["words"]], settings).read([items[0]])
    assert [(one.modality, one.unread and one.unread.reason, one.unread and one.unread.cause) for one in found[0].parts] == [
        (Modality.IMAGE, "reader_error", "SIGABRT"), (Modality.TEXT, "reader_error", "SIGABRT"),
    ]  # fmt: skip
    assert [one.unread for one in Readers([apart.readers["words"]], settings).read([items[1]])[0].parts] == [None] * 4
