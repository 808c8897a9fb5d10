"""A plugin, tried without tests of its own: what it brings is set up, shown content on which plugins break, and asked twice."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from moderation.decision import Abstention
from moderation.detector.answers import alike
from moderation.detector.base import DetectionBatch, Detector, ids_of, needs_scores
from moderation.detector.faults import FAULTS, describe
from moderation.detector.life import Unit
from moderation.detector.linear import ImportedDetector
from moderation.detector.runner import Runner, UnitRunner
from moderation.encoder.base import Encoder
from moderation.item import Modality, Part
from moderation.plugin.brought import PluginRecord, Plugins
from moderation.plugin.check_made import EncoderTrial, FetcherTrial
from moderation.plugin.registry import FetcherRequest
from moderation.plugin.samples import TEXTS, hostile_parts, made_pictures, made_vectors, made_video
from moderation.reader.base import Reader
from moderation.reader.step import ReaderRunner
from moderation.settings import Settings

STEPS = ("life", "shape", "determinism", "failure")
Encoders = Callable[[str], Encoder]
_NOT_ASKED = Abstention("not_asked")  # of whose scores it needs: what that means is for it to say


@dataclass(frozen=True, slots=True)
class Trial:
    """One step of one thing that a plugin brings: how long it took, and what went wrong, "" where nothing did; `untried` says why nothing was."""

    plugin: str
    kind: str
    id: str
    step: str
    seconds: float
    fault: str
    untried: str = ""


def check(
    known: Plugins, plugin: PluginRecord, settings: Settings, *, encoders: Encoders, named: str
) -> Iterator[Trial]:
    """Every step of everything that the plugin brings; the steps after one that failed are left out.

    `encoders` loads an encoder by its name in the settings. Vectors, for a detector that asks for some, are as wide as those of the `named` one, which
    is loaded only then. Of encoders and fetchers those are tried that the settings ask for.
    """
    for id_ in plugin.detectors:
        detector = known.detectors[id_]
        runner = Runner([detector], settings=settings.detectors)
        trial = _Trial(known, detector, runner, _batch(detector, lambda: encoders(named).card.width), alike)
        shown = _shown(detector.modalities, vectors=detector.needs_embeddings)
        yield from _tried(plugin.id, "detector", id_, trial.steps(shown))
    for id_ in plugin.readers:
        reader = known.readers[id_]
        reading = _Trial(known, reader, ReaderRunner([reader], settings.readers, earlier=None), tuple, operator.eq)
        yield from _tried(plugin.id, "reader", id_, reading.steps(_shown(reader.reads)))
    for loader in plugin.encoders:
        names = [name for name, one in settings.encoders.items() if one.loader == loader]
        for name in names:
            made = EncoderTrial(partial(encoders, name))
            steps = dict(zip(STEPS, (made.life, made.shape, made.determinism, made.failure), strict=True))
            yield from _tried(plugin.id, "encoder", f"{loader} ({name})", steps)
        if not names:
            yield Trial(
                plugin.id, "encoder", loader, "", 0.0, "", f"no encoders.NAME of the settings has loader = {loader!r}"
            )
    for scheme in plugin.fetchers:
        if section := settings.fetch.get(scheme):
            fetching = FetcherTrial(partial(known.fetchers[scheme], FetcherRequest(scheme, section)), scheme)
            steps = {STEPS[0]: fetching.life, STEPS[-1]: fetching.failure}
            yield from _tried(plugin.id, "fetcher", scheme, steps)
        else:
            yield Trial(plugin.id, "fetcher", scheme, "", 0.0, "", f"the settings have no section fetch.{scheme}")
    for id_ in plugin.sinks:  # it is set up alone: whoever is behind it must not be told of decisions that nobody made
        yield from _tried(plugin.id, "sink", id_, {STEPS[0]: partial(_set_up, known, known.sinks[id_])})


def _tried(plugin: str, kind: str, id_: str, steps: Mapping[str, Callable[[], str]]) -> Iterator[Trial]:
    for name, step in steps.items():
        began = time.perf_counter()
        try:
            fault = step()
        except Exception as error:  # noqa: BLE001 - whatever a plugin's code raises is its own fault
            fault = describe(error)
        yield Trial(plugin, kind, id_, name, time.perf_counter() - began, fault)
        if fault:
            return


def _set_up(known: Plugins, unit: Unit) -> str:
    return known.lives.begin([unit]).get(unit.id, "")


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

    def steps(self, shown: _Shown) -> dict[str, Callable[[], str]]:
        """By name, what tells what went wrong."""
        tried = (self._shape, self._determinism, self._failure)
        life = partial(_set_up, self.known, self.unit)
        return dict(zip(STEPS, (life, *(partial(one, shown) for one in tried)), strict=True))

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
    plain = [Part.text(one) for one in TEXTS if Modality.TEXT in modalities]
    if Modality.IMAGE in modalities:
        plain += [Part.image(one) for one in made_pictures(3)]
    if Modality.VIDEO in modalities:
        plain.append(Part.video(made_video()))
    return _Shown(tuple(plain), tuple(hostile_parts(unseen)))
