"""What plugins brought and is in force, and what became of each plugin."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

from moderation.decision import Sink
from moderation.detector.base import Detector
from moderation.detector.life import Lives, Unit
from moderation.encoder.base import Encoder
from moderation.errors import PluginError
from moderation.meant import did_you_mean
from moderation.plugin.registry import EncoderLoader, EncoderRequest, FetcherMaker
from moderation.reader.base import Reader
from moderation.telemetry import TRACE

BUILTIN = "builtin"  # the id of what the package itself brings
KINDS = ("detector", "reader", "encoder", "fetcher", "sink")


class PluginState(StrEnum):
    """What became of a plugin: `off` means that the settings leave it out, so it was not even imported."""

    LOADED = "loaded"
    BROKEN = "broken"
    OFF = "off"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin as found: where it came from, what it brought, and why it is not in force where it is not.

    Where it is `isolated`, its code runs in other processes alone. `hooks` are those that it implements; `place` is where in the code (file and line)
    it failed, where it raised.
    """

    id: str
    distribution: str
    version: str
    state: PluginState
    detectors: tuple[str, ...] = ()
    encoders: tuple[str, ...] = ()
    cause: str = ""
    fetchers: tuple[str, ...] = ()
    isolated: bool = False
    readers: tuple[str, ...] = ()
    sinks: tuple[str, ...] = ()
    hooks: tuple[str, ...] = field(default=(), compare=False)
    place: str = field(default="", compare=False)

    @property
    def kind(self) -> str:
        """What it brings, for people: one of KINDS, several of them or nothing."""
        brought = (self.detectors, self.readers, self.encoders, self.fetchers, self.sinks)
        return ", ".join(word for word, names in zip(KINDS, brought, strict=True) if names)


@dataclass(frozen=True, slots=True)
class Plugins:
    """Everything that plugins brought and that is in force, and a record of every plugin found."""

    records: tuple[PluginRecord, ...]
    detectors: Mapping[str, Detector] = field(default_factory=dict)
    loaders: Mapping[str, EncoderLoader] = field(default_factory=dict)
    fetchers: Mapping[str, FetcherMaker] = field(default_factory=dict)
    readers: Mapping[str, Reader] = field(default_factory=dict)
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    lives: Lives = field(default_factory=Lives)

    def detector(self, id_: str, *, needed_by: str) -> Detector:
        """The detector with this id. Raises PluginError that says why it is not there and what has a similar name."""
        if id_ not in self.detectors:
            raise PluginError(id_, self._absent("detector", id_, needed_by, self.detectors))
        return self.detectors[id_]

    def loader(self, name: str, *, needed_by: str) -> EncoderLoader:
        """The encoder loader with this name. Raises PluginError when there is none."""
        if name not in self.loaders:
            raise PluginError(name, self._absent("encoder loader", name, needed_by, self.loaders))
        return partial(_load, name, self.loaders[name])

    def fetcher(self, scheme: str, *, needed_by: str) -> FetcherMaker:
        """What makes the fetcher of this scheme. Raises PluginError when there is none."""
        if scheme not in self.fetchers:
            raise PluginError(scheme, self._absent("fetcher", scheme, needed_by, self.fetchers))
        return self.fetchers[scheme]

    def reader(self, id_: str, *, needed_by: str) -> Reader:
        """The reader with this id. Raises PluginError when there is none."""
        if id_ not in self.readers:
            raise PluginError(id_, self._absent("reader", id_, needed_by, self.readers))
        return self.readers[id_]

    def sink(self, id_: str, *, needed_by: str) -> Sink:
        """The sink with this id. Raises PluginError when there is none."""
        if id_ not in self.sinks:
            raise PluginError(id_, self._absent("sink", id_, needed_by, self.sinks))
        return self.sinks[id_]

    def set_up(self, units: Iterable[Unit], needed_by: Mapping[str, str], *, kind: str = "detector") -> None:
        """Set up these units of one kind, as far as they are not yet, side by side. By id, who needs each: the PluginError tells it where one fails."""
        failed = self.lives.begin(units)
        told = [f"{needed_by[id_]} needs the {kind} {id_!r}, which cannot be set up: {failed[id_]}" for id_ in failed]
        if told:
            first = next(iter(failed))
            raise PluginError(next((one.id for one in self.records if first in _names(one)), first), "; ".join(told))

    def can_be_isolated(self, record: PluginRecord) -> bool:
        """Whether a loaded plugin brings what can run in processes of its own: detectors and readers, and nothing else."""
        others = (*record.encoders, *record.fetchers, *record.sinks)
        return bool(record.detectors or record.readers) and not others

    def close(self) -> None:
        """Close what was set up: the process is done with it."""
        self.lives.close()

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """The distributions that bring these detectors and encoder loaders, with their versions."""
        wanted = set(names)
        brought = [
            r
            for r in self.records
            if r.state is PluginState.LOADED and wanted & {*r.detectors, *r.readers, *r.encoders}
        ]
        return {one.distribution: one.version for one in brought}

    def _absent(self, what: str, name: str, needed_by: str, known: Iterable[str]) -> str:
        absent = [r for r in self.records if r.state is not PluginState.LOADED]
        named = [r for r in absent if name in _names(r)]
        if named:
            return f"{needed_by} needs the {what} {name!r}, but {_causes(named)}"
        others = f"; besides, {_causes(absent)}" if absent else ""
        return f"{needed_by} needs the {what} {name!r}, which no plugin provides{did_you_mean(name, known)}{others}"


def _load(name: str, load: EncoderLoader, request: EncoderRequest) -> Encoder:
    began = time.perf_counter()
    made = load(request)
    TRACE.debug("loader %s: loading the encoder took %.1f ms", name, 1e3 * (time.perf_counter() - began))
    return made


def _names(record: PluginRecord) -> set[str]:
    return {record.id, *record.detectors, *record.readers, *record.encoders, *record.fetchers, *record.sinks}


def _causes(records: Iterable[PluginRecord]) -> str:
    return "; ".join(f"plugin {r.id!r} of {r.distribution or 'no package'} is {r.state}: {r.cause}" for r in records)
