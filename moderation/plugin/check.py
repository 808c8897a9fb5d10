"""A plugin, tried without tests of its own: what it brings is set up, shown content on which plugins break, and asked twice."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from moderation.decision import Abstention
from moderation.detector.answers import alike
from moderation.detector.base import DetectionBatch, Detector, ids_of, needs_scores
from moderation.detector.faults import FAULTS
from moderation.detector.linear import ImportedDetector
from moderation.detector.runner import Runner, UnitRunner
from moderation.item import Modality, Part
from moderation.plugin.brought import PluginRecord, Plugins
from moderation.plugin.samples import hostile_parts, made_pictures, made_vectors
from moderation.reader.base import Reader
from moderation.reader.step import ReaderRunner
from moderation.settings import Settings

STEPS = ("life", "shape", "determinism", "failure")
_TEXTS = ("a walk in the park", "Grüße aus Köln", "buy now")
_NOT_ASKED = Abstention("not_asked")  # of whose scores it needs: what that means is for it to say


@dataclass(frozen=True, slots=True)
class Trial:
    """One step of one detector, reader or sink: how long it took, and what went wrong, "" where nothing did."""

    plugin: str
    kind: str
    id: str
    step: str
    seconds: float
    fault: str


def check(known: Plugins, plugin: PluginRecord, settings: Settings, *, width: Callable[[], int]) -> Iterator[Trial]:
    """Every step of everything that the plugin brings; the steps after one that failed are left out.

    `width` is that of the vectors for a detector that asks for some, and is asked only then: it may take loading an encoder.
    """
    for id_ in plugin.detectors:
        detector = known.detectors[id_]
        runner = Runner([detector], settings=settings.detectors)
        trial = _Trial(known, detector, runner, _batch(detector, width), alike)
        yield from trial.run(plugin.id, "detector", _shown(detector.modalities, vectors=detector.needs_embeddings))
    for id_ in plugin.readers:
        reader = known.readers[id_]
        reading = ReaderRunner([reader], settings.readers, earlier=None)
        yield from _Trial(known, reader, reading, tuple, operator.eq).run(plugin.id, "reader", _shown(reader.reads))
    for id_ in plugin.sinks:  # it is set up alone: whoever is behind it must not be told of decisions that nobody made
        began = time.perf_counter()
        fault = known.lives.begin([known.sinks[id_]]).get(id_, "")
        yield Trial(plugin.id, "sink", id_, STEPS[0], time.perf_counter() - began, fault)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a unit is shown: harmless content, and content on which plugins break."""

    plain: tuple[Part, ...]
    hostile: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class _Trial:
    known: Plugins
    unit: Detector | Reader
    runner: UnitRunner[Any, Any]
    batch: Callable[[Sequence[Part]], Any]
    alike: Callable[[Any, Any], bool]

    def run(self, plugin: str, kind: str, shown: _Shown) -> Iterator[Trial]:
        steps: dict[str, Callable[[_Shown], str]] = dict(
            zip(STEPS, (self._life, self._shape, self._determinism, self._failure), strict=True)
        )
        for name, step in steps.items():
            began = time.perf_counter()
            fault = step(shown)
            yield Trial(plugin, kind, self.unit.id, name, time.perf_counter() - began, fault)
            if fault:
                return

    def _life(self, _: _Shown) -> str:
        return self.known.lives.begin([self.unit]).get(self.unit.id, "")

    def _shape(self, shown: _Shown) -> str:
        return _fault(self._ask(shown.plain))

    def _determinism(self, shown: _Shown) -> str:
        first, second = self._ask(shown.plain), self._ask(tuple(reversed(shown.plain)))[::-1]
        otherwise = "the same parts have other answers"
        return _fault(first) or _fault(second) or ("" if self._agree(first, second) else otherwise)

    def _failure(self, shown: _Shown) -> str:
        alone, beside = self._ask(shown.plain), self._ask((*shown.hostile, *shown.plain))
        spoilt = "a part is judged otherwise beside hostile ones"
        return _fault(beside) or ("" if self._agree(beside[len(shown.hostile) :], alone) else spoilt)

    def _agree(self, first: Sequence[Any], second: Sequence[Any]) -> bool:
        return all(map(self.alike, first, second))

    def _ask(self, parts: Sequence[Part]) -> tuple[Any, ...]:
        return self.runner.run({self.unit.id: self.batch(parts)})[self.unit.id]


def _fault(answers: Sequence[Any]) -> str:
    for number, one in enumerate(answers):
        if isinstance(one, Abstention) and one.reason in FAULTS:
            return f"part {number}: {one.reason}{one.cause and f' ({one.cause})'}"
    return ""


def _batch(detector: Detector, width: Callable[[], int]) -> Callable[[Sequence[Part]], DetectionBatch]:
    sources = ids_of(needs_scores(detector))
    wide = 0
    if detector.needs_embeddings:
        wide = detector.head.width if isinstance(detector, ImportedDetector) else width()

    def make(parts: Sequence[Part]) -> DetectionBatch:
        vectors = made_vectors(parts, wide) if detector.needs_embeddings else None
        return DetectionBatch(
            tuple(parts), vectors, tuple(dict.fromkeys(sources, _NOT_ASKED) for _ in parts) if sources else None
        )

    return make


def _shown(modalities: frozenset[Modality], *, vectors: bool = False) -> _Shown:
    # A picture that cannot be decoded has no vector, so that a detector of vectors is never shown one.
    unseen = modalities & {Modality.TEXT} if vectors else modalities
    plain = [Part.text(one) for one in _TEXTS if Modality.TEXT in modalities]
    if Modality.IMAGE in modalities:
        plain += [Part.image(one) for one in made_pictures(3)]
    return _Shown(tuple(plain), tuple(hostile_parts(unseen)))
