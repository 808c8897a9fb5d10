"""Finds, loads and checks plugins, one by one: what is wrong with one is written down and never touches another."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points

import pluggy

from moderation import __version__
from moderation.detector.base import Detector
from moderation.detector.faults import describe
from moderation.detector.life import SETUP_SECONDS, Lives
from moderation.detector.names import SLUG, is_slug
from moderation.errors import PluginError, SettingsError
from moderation.plugin import builtin, hookspecs
from moderation.plugin.isolated import IsolatedPlugin
from moderation.plugin.registry import (
    DetectorMaker,
    DetectorRegistry,
    EncoderLoader,
    EncoderRegistry,
    FetcherMaker,
    FetcherRegistry,
)

BUILTIN = "builtin"
EVERY = "*"


class PluginState(StrEnum):
    """What became of a plugin: `off` means that the settings leave it out, so it was not even imported."""

    LOADED = "loaded"
    BROKEN = "broken"
    OFF = "off"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin as found: where it came from, what it brought, and why it is not in force where it is not.

    Where it is `isolated`, its code runs in other processes alone.
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

    @property
    def kind(self) -> str:
        """What it brings, for people: `detector`, `encoder`, `fetcher`, several of them or nothing."""
        brought = (("detector", self.detectors), ("encoder", self.encoders), ("fetcher", self.fetchers))
        return ", ".join(word for word, names in brought if names)


@dataclass(frozen=True, slots=True)
class Plugins:
    """Everything that plugins brought and that is in force, and a record of every plugin found."""

    records: tuple[PluginRecord, ...]
    detectors: Mapping[str, Detector] = field(default_factory=dict)
    makers: Mapping[str, DetectorMaker] = field(default_factory=dict)
    loaders: Mapping[str, EncoderLoader] = field(default_factory=dict)
    fetchers: Mapping[str, FetcherMaker] = field(default_factory=dict)
    lives: Lives = field(default_factory=Lives)

    def detector(self, id_: str, *, needed_by: str) -> Detector:
        """The detector with this id. Raises PluginError that says why it is not there and what has a similar name."""
        if id_ not in self.detectors:
            raise PluginError(id_, self._absent("detector", id_, needed_by, self.detectors))
        return self.detectors[id_]

    def maker(self, kind: str, *, needed_by: str) -> DetectorMaker:
        """What makes a detector of this kind out of a lock. Raises PluginError when there is none."""
        if kind not in self.makers:
            raise PluginError(kind, self._absent("kind of detector", kind, needed_by, self.makers))
        return self.makers[kind]

    def loader(self, name: str, *, needed_by: str) -> EncoderLoader:
        """The encoder loader with this name. Raises PluginError when there is none."""
        if name not in self.loaders:
            raise PluginError(name, self._absent("encoder loader", name, needed_by, self.loaders))
        return self.loaders[name]

    def fetcher(self, scheme: str, *, needed_by: str) -> FetcherMaker:
        """What makes the fetcher of this scheme. Raises PluginError when there is none."""
        if scheme not in self.fetchers:
            raise PluginError(scheme, self._absent("fetcher", scheme, needed_by, self.fetchers))
        return self.fetchers[scheme]

    def set_up(self, needed: Mapping[str, str]) -> None:
        """Set up these detectors, as far as they are not yet, side by side. By id, who needs each: it is told in the PluginError where one fails."""
        failed = self.lives.begin([self.detectors[id_] for id_ in needed])
        told = [f"{needed[id_]} needs the detector {id_!r}, which cannot be set up: {failed[id_]}" for id_ in failed]
        if told:
            first = next(iter(failed))
            raise PluginError(next((r.id for r in self.records if first in r.detectors), first), "; ".join(told))

    def close(self) -> None:
        """Close what was set up: the process is done with it."""
        self.lives.close()

    def versions(self, names: Iterable[str]) -> dict[str, str]:
        """The distributions that bring these detectors and encoder loaders, with their versions."""
        wanted = set(names)
        brought = [r for r in self.records if r.state is PluginState.LOADED and wanted & {*r.detectors, *r.encoders}]
        return {one.distribution: one.version for one in brought}

    def _absent(self, what: str, name: str, needed_by: str, known: Iterable[str]) -> str:
        absent = [r for r in self.records if r.state is not PluginState.LOADED]
        named = [r for r in absent if name in _names(r)]
        if named:
            return f"{needed_by} needs the {what} {name!r}, but {_causes(named)}"
        others = f"; besides, {_causes(absent)}" if absent else ""
        return f"{needed_by} needs the {what} {name!r}, which no plugin provides{_nearest(name, known)}{others}"


def load(
    only: Sequence[str] | None = None,
    *,
    isolated: Collection[str] = (),
    memory_bytes: int = 0,
    setup_seconds: float = SETUP_SECONDS,
    found: Iterable[EntryPoint] | None = None,
) -> Plugins:
    """Load the built-in plugin and every installed one, or those that `only` names; call it once, on purpose.

    Those that `isolated` names (`*`: all) are not imported here: they run in processes of `memory_bytes` at most (0: no limit). Setting up a
    detector may take `setup_seconds`, and so may the start of a process.
    `found` stands for the entry points of group `moderation`. Never raises for a plugin's sake: read `records`. Raises SettingsError
    where `isolated` names none that is installed: the one that was meant would run here.
    """
    entries = sorted(entry_points(group=hookspecs.GROUP) if found is None else found, key=_order)
    _check_isolated(isolated, [entry.name for entry in entries])
    claims = Counter(entry.name for entry in entries)
    staged = [_load_module(PluginRecord(BUILTIN, "moderation", __version__, PluginState.LOADED), builtin)]
    for entry in entries:
        if only is not None and entry.name not in only:
            staged.append(_Staged(_record(entry, PluginState.OFF, "left out by settings.plugins.only")))
        elif entry.name == BUILTIN or claims[entry.name] > 1:
            staged.append(_Staged(_record(entry, PluginState.BROKEN, _duplicate_cause(entry, entries))))
        else:
            apart = entry.name in isolated or EVERY in isolated
            process = IsolatedPlugin(entry.name, memory_bytes=memory_bytes, seconds=setup_seconds) if apart else None
            staged.append(_load_entry(entry, process))
    names = [entry.name for entry in entries]
    staged += [_missing(name, names) for name in only or () if name not in names and name != BUILTIN]
    return _in_force(_without_rivals(staged), Lives(setup_seconds))


@dataclass(slots=True)
class _Staged:
    """One plugin's record and what it registered; nothing of it is in force until all plugins were looked at."""

    record: PluginRecord
    detectors: DetectorRegistry = field(default_factory=lambda: DetectorRegistry(""))
    encoders: EncoderRegistry = field(default_factory=lambda: EncoderRegistry(""))
    fetchers: FetcherRegistry = field(default_factory=lambda: FetcherRegistry(""))

    def broken(self, cause: str) -> _Staged:
        """The same plugin, everything it registered taken back; what it would have brought stays in the record."""
        return _Staged(replace(self.record, state=PluginState.BROKEN, cause=cause))


def _load_entry(entry: EntryPoint, isolated: IsolatedPlugin | None) -> _Staged:
    if not is_slug(entry.name):
        cause = f"its entry point is named {entry.name!r}; expected {SLUG}"
        return _Staged(_record(entry, PluginState.BROKEN, cause))
    try:
        module = isolated or entry.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a module may do anything when imported, even call sys.exit()
        return _Staged(_record(entry, PluginState.BROKEN, f"cannot be imported: {describe(error)}"))
    return _load_module(replace(_record(entry, PluginState.LOADED, ""), isolated=isolated is not None), module)


def _load_module(record: PluginRecord, module: object) -> _Staged:
    id_ = record.id
    staged = _Staged(record, DetectorRegistry(id_), EncoderRegistry(id_), FetcherRegistry(id_))
    try:
        _call_hooks(module, staged)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - as above: its hooks are its own code
        failed: str | None = describe(error)
    else:
        failed = None
    detectors = (*staged.detectors.detectors, *staged.detectors.makers)
    encoders, fetchers = tuple(staged.encoders.loaders), tuple(staged.fetchers.makers)
    staged.record = replace(record, detectors=detectors, encoders=encoders, fetchers=fetchers)
    return staged if failed is None else staged.broken(f"cannot be registered: {failed}")


def _call_hooks(module: object, staged: _Staged) -> None:
    """Each plugin gets a pluggy manager of its own, so that one that raises cannot discard what others returned."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=staged.record.id)
    manager.check_pending()
    if not manager.get_hookcallers(module):
        raise PluginError(staged.record.id, f"implements no hook; expected one of {', '.join(hook_names())}")
    manager.hook.register_detectors(registry=staged.detectors)
    manager.hook.register_encoders(registry=staged.encoders)
    manager.hook.register_fetchers(registry=staged.fetchers)


def hook_names() -> tuple[str, ...]:
    """The name of every hook there is."""
    return tuple(sorted(name for name in vars(hookspecs) if name.startswith("register_")))


def _without_rivals(staged: Sequence[_Staged]) -> list[_Staged]:
    """Who registers a name that another plugin registers too is broken, all of them; the built-in one always stands."""
    owners: dict[tuple[str, str], list[PluginRecord]] = {}
    for one in staged:
        for claim in _claims(one):
            owners.setdefault(claim, []).append(one.record)
    kept = []
    for one in staged:
        rivalled = [claim for claim in _claims(one) if len(owners[claim]) > 1]
        if rivalled and one.record.id != BUILTIN:
            what, name = rivalled[0]
            who = " and ".join(f"{owner.id!r} of {owner.distribution}" for owner in owners[rivalled[0]])
            kept.append(one.broken(f"{what} {name!r} is registered by {who}; expected one plugin to have it"))
        else:
            kept.append(one)
    return kept


def _claims(one: _Staged) -> list[tuple[str, str]]:
    claims = [("detector", name) for name in one.detectors.detectors]
    claims += [("kind of detector", name) for name in one.detectors.makers]
    claims += [("loader", name) for name in one.encoders.loaders]
    return claims + [("scheme", name) for name in one.fetchers.makers]


def _in_force(staged: Sequence[_Staged], lives: Lives) -> Plugins:
    return Plugins(
        records=tuple(one.record for one in staged),
        detectors={name: it for one in staged for name, it in one.detectors.detectors.items()},
        makers={name: it for one in staged for name, it in one.detectors.makers.items()},
        loaders={name: it for one in staged for name, it in one.encoders.loaders.items()},
        fetchers={name: it for one in staged for name, it in one.fetchers.makers.items()},
        lives=lives,
    )


def _check_isolated(isolated: Collection[str], names: Sequence[str]) -> None:
    for name in isolated:
        if name not in names and name != EVERY:
            raise SettingsError(f"settings: plugins.isolated: no plugin {name!r} is installed{_nearest(name, names)}")


def _missing(name: str, names: Sequence[str]) -> _Staged:
    cause = f"settings.plugins.only names it, but it is not installed{_nearest(name, names)}"
    return _Staged(PluginRecord(name, "", "", PluginState.MISSING, cause=cause))


def _duplicate_cause(entry: EntryPoint, entries: Sequence[EntryPoint]) -> str:
    rivals = [f"{one.dist.name} ({one.value})" if one.dist else one.value for one in entries if one.name == entry.name]
    also = ["moderation itself"] if entry.name == BUILTIN else []
    return f"the id {entry.name!r} is claimed by {' and '.join(also + rivals)}; expected one"


def _record(entry: EntryPoint, state: PluginState, cause: str) -> PluginRecord:
    dist = entry.dist
    return PluginRecord(entry.name, dist.name if dist else "unknown", dist.version if dist else "", state, cause=cause)


def _order(entry: EntryPoint) -> tuple[str, str, str]:
    return entry.name, entry.dist.name if entry.dist else "", entry.value


def _names(record: PluginRecord) -> set[str]:
    return {record.id, *record.detectors, *record.encoders, *record.fetchers}


def _causes(records: Iterable[PluginRecord]) -> str:
    return "; ".join(f"plugin {r.id!r} of {r.distribution or 'no package'} is {r.state}: {r.cause}" for r in records)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return (
        f"; nearest known: {', '.join(map(repr, close))}" if close else f"; known: {', '.join(sorted(known)) or 'none'}"
    )
