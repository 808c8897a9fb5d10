"""Readers that break one promise each, and the kit's word on them; run by test_reader_kit.py, never collected by itself."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from moderation import Abstention, Modality, Part
from moderation.plugin_sections import ReaderSettings
from moderation.testing import ReaderKit
from moderation.testing import reader as kit
from tests.unit.testing.installed import installed

SECONDS = 0.5
COUNT = itertools.count()


@pytest.fixture(autouse=True)
def _short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "DEFAULTS", ReaderSettings(timeout_seconds=SECONDS))


class Good:
    """A text for each line of a film's script."""

    id = "script"
    revision = "1"
    reads = frozenset({Modality.VIDEO, Modality.IMAGE})
    yields = frozenset({Modality.TEXT})

    def read(self, parts: tuple[Part, ...]) -> Any:
        return [self.lines(part) if part.content.startswith(b"film:") else Abstention("no_film") for part in parts]

    def lines(self, part: Part) -> Any:
        lines = part.content.removeprefix(b"film:").decode("utf-8", "replace").split("|")
        return [Part.text(line, name=f"line-{number}") for number, line in enumerate(lines) if line]


class Kit(ReaderKit):
    make: Any = Good
    holding = [Part.video(b"film:a gun|two"), b"film:hello"]
    empty = [Part.video(b"film:")]
    test_import_asks_no_network: Any = None  # a process for each; the detectors' kit runs it


class TestGood(Kit):
    test_import_asks_no_network = ReaderKit.test_import_asks_no_network


class Unrevised(Good):
    revision = ""


class TestUnrevised(Kit):
    make = Unrevised


class Learning(Good):
    """It calls itself another edition with each batch."""

    def read(self, parts: tuple[Part, ...]) -> Any:
        self.revision = f"{next(COUNT)}"
        return super().read(parts)


class TestLearning(Kit):
    make = Learning


APART = """
import sys
from moderation import Modality, Part, hookimpl

class Steady:
    id, revision, reads, yields = "steady", "1", frozenset({Modality.VIDEO, Modality.IMAGE}), frozenset({Modality.TEXT})
    def read(self, parts):
        return [[Part.text("a line")] if part.content.startswith(b"film:") and part.content[5:] else [] for part in parts]

class Swayed(Steady):
    id = "swayed"
    def read(self, parts):
        return super().read(parts) if "pytest" in sys.modules else [[]] * len(parts)

@hookimpl
def register_readers(registry):
    registry.add(Steady())
    registry.add(Swayed())
"""
apart = installed("filmed", APART)


class TestSteady(Kit):
    make = apart.Steady
    plugin = "filmed"


class TestSwayed(Kit):
    make = apart.Swayed
    plugin = "filmed"


class VideoMaker(Good):
    yields = frozenset({Modality.VIDEO})


class TestVideoMaker(Kit):
    make = VideoMaker


class Renamed(Good):
    def __init__(self) -> None:
        self.id = f"script-{next(COUNT)}"


class TestRenamed(Kit):
    make = Renamed


class TestNotInstalled(Kit):
    plugin = "script-of-nobody"


class Blind(Good):
    def lines(self, part: Part) -> Any:
        return []


class TestBlind(Kit):
    make = Blind


class Inventor(Good):
    def lines(self, part: Part) -> Any:
        return [*super().lines(part), Part.text("the end")]


class TestInventor(Kit):
    make = Inventor


class Eager(Good):
    def read(self, parts: tuple[Part, ...]) -> Any:
        return super().read(parts) or [[]]


class TestEager(Kit):
    make = Eager


class Painter(Good):
    def lines(self, part: Part) -> Any:
        return [Part.image(one.content) for one in super().lines(part)]


class TestPainter(Kit):
    make = Painter


class Raises(Good):
    def read(self, parts: tuple[Part, ...]) -> Any:
        assert all(part.content for part in parts)
        return super().read(parts)


class TestRaises(Kit):
    make = Raises


class Moody(Good):
    def lines(self, part: Part) -> Any:
        return [Part.text(f"{next(COUNT)}") for _ in super().lines(part)]


class TestMoody(Kit):
    make = Moody


class Counting(Good):
    def read(self, parts: tuple[Part, ...]) -> Any:
        return [
            one if isinstance(one, Abstention) else [Part.text(f"{number}") for _ in one]
            for number, one in enumerate(super().read(parts))
        ]


class TestCounting(Kit):
    make = Counting


class Slow(Good):
    def read(self, parts: tuple[Part, ...]) -> Any:
        time.sleep(2 * SECONDS if len(parts) == ReaderKit.many else 0)
        return super().read(parts)


class TestSlow(Kit):
    make = Slow


class Unverified(Good):
    def verify(self) -> None:
        raise ValueError


class TestUnverified(Kit):
    make = Unverified


class ClosedOnce(Good):
    def setup(self) -> None:
        self.index = 1

    def close(self) -> None:
        del self.index


class TestClosedOnce(Kit):
    make = ClosedOnce


class Shared(Good):
    known: Any = set()

    def setup(self) -> None:
        self.known.add(1)

    def close(self) -> None:
        self.known.clear()

    def lines(self, part: Part) -> Any:
        return super().lines(part) if self.known else []


class TestShared(Kit):
    make = Shared
