"""Detectors that break one promise each, and the kit's word on them; run by test_detector_kit.py, never collected by itself."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from moderation import Abstention, DetectionBatch, Modality, Score
from moderation.plugin_sections import DetectorSettings
from moderation.testing import DetectorKit
from moderation.testing import detector as kit
from tests.unit.testing.installed import installed

SECONDS = 0.5  # what a batch may take, in these tests


@pytest.fixture(autouse=True)
def _short_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "DEFAULTS", DetectorSettings(timeout_seconds=SECONDS))


class Good:
    """Finds guns, by their name."""

    id = "guns"
    labels = ("gun",)
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False

    def detect(self, batch: DetectionBatch) -> Any:
        return [(Score("gun", float(b"gun" in part.content)),) for part in batch.parts]


class Kit(DetectorKit):
    flagged = {"gun": ["a gun", "two guns"]}
    passed = ["a flower", "a bottle"]
    test_import_asks_no_network: Any = None  # a process for each; once is enough here


class TestGood(Kit):
    make = Good
    test_import_asks_no_network = DetectorKit.test_import_asks_no_network


class Vectors(Good):
    needs_embeddings = True
    modalities = frozenset({Modality.IMAGE, Modality.TEXT})


class TestGoodWithVectors(Kit):
    make = Vectors
    width = 64


class Steep(Vectors):
    """A little riskier along the first axis: by 0.2 · 20 / 4 at most."""

    steepness = 1.0

    def detect(self, batch: DetectionBatch) -> Any:
        assert batch.embeddings is not None
        leans = 0.2 / (1.0 + np.exp(-20.0 * batch.embeddings[:, 0].astype(np.float64)))
        guns = [0.6 if b"gun" in part.content else 0.1 for part in batch.parts]
        return [(Score("gun", float(one)),) for one in leans + guns]


class TestSteep(TestGoodWithVectors):
    make = Steep


class SteeperThanStated(Steep):
    steepness = 0.5


class TestSteeperThanStated(TestGoodWithVectors):
    make = SteeperThanStated


class Nameless(Good):
    id = "Guns and Roses"


class TestNameless(Kit):
    make = Nameless


class Renamed(Good):
    def __init__(self) -> None:
        self.id = f"guns-{next(COUNT)}"


COUNT = itertools.count()


class TestRenamed(Kit):
    make = Renamed


class TestNotInstalled(Kit):
    make = Good
    plugin = "guns-of-nobody"


class Percent(Good):
    def detect(self, batch: DetectionBatch) -> Any:
        class Loose:
            def __init__(self, value: float) -> None:
                self.label, self.value, self.concept, self.evidence = "gun", value, None, None

        return [(Loose(100.0 * (b"gun" in part.content)),) for part in batch.parts]


class TestPercent(Kit):
    make = Percent


class Blind(Good):
    def detect(self, batch: DetectionBatch) -> Any:
        return [(Score("gun", 0.0),) for _ in batch.parts]


class TestBlind(Kit):
    make = Blind


class Alarmist(Good):
    def detect(self, batch: DetectionBatch) -> Any:
        return [(Score("gun", 1.0),) for _ in batch.parts]


class TestAlarmist(Kit):
    make = Alarmist


class Forgetful(Good):
    """Says nothing of what is harmless."""

    def detect(self, batch: DetectionBatch) -> Any:
        return [(Score("gun", 1.0),) if b"gun" in part.content else () for part in batch.parts]


class TestForgetful(Kit):
    make = Forgetful


class Eager(Good):
    """Answers though nothing was asked."""

    def detect(self, batch: DetectionBatch) -> Any:
        return super().detect(batch) or [(Score("gun", 0.0),)]


class TestEager(Kit):
    make = Eager


class Moody(Good):
    """Another score each time."""

    def detect(self, batch: DetectionBatch) -> Any:
        return [(Score("gun", random.uniform(0.6, 0.9) if b"gun" in one.content else 0.1),) for one in batch.parts]


class TestMoody(Kit):
    make = Moody


class Scribbler(Vectors):
    """Normalises the shared vectors in place."""

    def detect(self, batch: DetectionBatch) -> Any:
        if batch.embeddings is not None:
            np.multiply(batch.embeddings, 0.5, out=batch.embeddings)
        return super().detect(batch)


class TestScribbler(Kit):
    make = Scribbler


class Relative(Good):
    """Scores by rank within the batch."""

    def detect(self, batch: DetectionBatch) -> Any:
        most = max((part.content.count(b"gun") for part in batch.parts), default=0)
        return [(Score("gun", part.content.count(b"gun") / most if most else 0.0),) for part in batch.parts]


class TestRelative(Kit):
    make = Relative
    flagged = {"gun": ["gun", "gun gun"]}


class Raises(Good):
    def detect(self, batch: DetectionBatch) -> Any:
        assert all(part.content for part in batch.parts)
        return super().detect(batch)


class TestRaises(Kit):
    make = Raises


class Slow(Good):
    def detect(self, batch: DetectionBatch) -> Any:
        time.sleep(2 * SECONDS if len(batch) > 100 else 0)
        return super().detect(batch)


class TestSlow(Kit):
    make = Slow


class Wordy(Good):
    """Says why at such length that a process of its own would not be listened to."""

    why: Any = {f"{number} {'ü' * 190}": 0.5 for number in range(1000)}

    def detect(self, batch: DetectionBatch) -> Any:
        return [(replace(score, evidence=self.why),) for (score,) in super().detect(batch)]


class TestWordy(Kit):
    make = Wordy


APART = """
import sys
from moderation import Modality, Score, hookimpl

class Steady:
    id, labels, modalities, needs_embeddings = "steady", ("gun",), frozenset({Modality.TEXT}), False
    def detect(self, batch):
        return [(Score("gun", float(b"gun" in part.content)),) for part in batch.parts]

class Swayed(Steady):
    id = "swayed"
    def detect(self, batch):
        return super().detect(batch) if "pytest" in sys.modules else [(Score("gun", 0.0),)] * len(batch)

@hookimpl
def register_detectors(registry):
    registry.add(Steady())
    registry.add(Swayed())
"""
apart = installed("apart", APART)


class TestSteady(Kit):
    make = apart.Steady
    plugin = "apart"


class TestSwayed(Kit):
    make = apart.Swayed
    plugin = "apart"


class Blend(Good):
    """As risky as the likelier of two others; what one abstains from is as risky as the other says."""

    id, labels, needs_scores = "blend", ("risk",), ("guns", "loud/noise")

    def detect(self, batch: DetectionBatch) -> Any:
        assert batch.scores is not None
        found = [[one for told in row.values() if isinstance(told, tuple) for one in told] for row in batch.scores]
        return [(Score("risk", max((one.value for one in row), default=0.0)),) for row in found]


class Loud(Good):
    id, labels = "loud", ("noise", "shouting")

    def detect(self, batch: DetectionBatch) -> Any:
        noise = [part.content.decode().isupper() for part in batch.parts]
        return [
            (Score("noise", float(one)), Score("shouting", 1.0)) if part.content else Abstention("silent")
            for one, part in zip(noise, batch.parts, strict=True)
        ]


class TestBlend(Kit):
    make = Blend
    sources = (Good, Loud)
    flagged = {"risk": ["a gun", "FIRE"]}


class TestBlendOfWhatIsNotThere(TestBlend):
    sources = (Good,)


class Lived(Good):
    """Loads its words when it is set up."""

    words: Any = None

    def setup(self) -> None:
        self.words = (b"gun",)

    def verify(self) -> None:
        assert self.words

    def close(self) -> None:
        self.words = None

    def detect(self, batch: DetectionBatch) -> Any:
        return [(Score("gun", float(any(word in part.content for word in self.words))),) for part in batch.parts]


class TestLived(Kit):
    make = Lived


class Unverified(Lived):
    def verify(self) -> None:
        assert not self.words


class TestUnverified(Kit):
    make = Unverified


class OnceOnly(Lived):
    """The second of them finds its place taken."""

    taken: Any = None

    def setup(self) -> None:
        super().setup()
        assert OnceOnly.taken in {None, self}
        OnceOnly.taken = self


class TestOnceOnly(Kit):
    make = OnceOnly


class ClosedOnce(Lived):
    def close(self) -> None:
        del self.words


class TestClosedOnce(Kit):
    make = ClosedOnce


class Shared(Lived):
    """All of them have one list of words, which the first that is closed takes along."""

    shared: Any = {}

    def setup(self) -> None:
        self.words = self.shared
        self.words[b"gun"] = True

    def close(self) -> None:
        self.shared.clear()


class TestShared(Kit):
    make = Shared


class Counted(Lived):
    open: ClassVar[list[Any]] = []

    def setup(self) -> None:
        super().setup()
        self.open.append(self)

    def close(self) -> None:
        super().close()
        self.open[:] = [one for one in self.open if one is not self]


class TestCounted(Kit):
    make = Counted
    sources = (Counted,)


class TestWhatIsLeftOpen:
    def test_nothing_is(self) -> None:
        assert Counted.open == []


class TestWordyAndSaysSo(Kit):
    make = Wordy
    expected_failures = {"test_process_border_keeps_batch_and_answers": "it tells its own kind of detail"}


class TestSaysSoForNothing(Kit):
    make = Good
    expected_failures = {"test_process_border_keeps_batch_and_answers": "it did once"}


class Shy(Good):
    def detect(self, batch: DetectionBatch) -> Any:
        return [Abstention("too_shy") for _ in batch.parts]


class TestShy(Kit):
    make = Shy
