"""Finds, loads and checks plugins, one by one: what is wrong with one is written down and never touches another."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType

import pluggy

from moderation import __version__
from moderation.detector.faults import describe
from moderation.detector.life import SETUP_SECONDS, Lives
from moderation.detector.names import SLUG, is_slug
from moderation.errors import PluginError, SettingsError
from moderation.meant import did_you_mean
from moderation.plugin import builtin, hookspecs
from moderation.plugin.brought import BUILTIN, PluginRecord, Plugins, PluginState
from moderation.plugin.isolated import IsolatedPlugin
from moderation.plugin.registry import (
    DetectorRegistry,
    EncoderRegistry,
    FetcherRegistry,
    PluginSection,
    ReaderRegistry,
    SinkRegistry,
)
from moderation.telemetry import TRACE

EVERY = "*"


def load(
    only: Sequence[str] | None = None,
    *,
    isolated: Collection[str] = (),
    memory_bytes: int = 0,
    setup_seconds: float = SETUP_SECONDS,
    settings: Mapping[str, PluginSection] = MappingProxyType({}),
    folder: Path = Path(),
    own: PluginSection = MappingProxyType({}),
    found: Iterable[EntryPoint] | None = None,
) -> Plugins:
    """Load the built-in plugin and every installed one, or those that `only` names; call it once, on purpose.

    Those that `isolated` names (`*`: all) are not imported here: they run in processes of `memory_bytes` at most (0: no limit). Loading a plugin
    may take `setup_seconds`, and so may setting up a detector and the start of a process. `settings` holds sections of plugins' own, whose paths
    are meant from `folder` on; `own` is the built-in one's.
    `found` stands for the entry points of group `moderation`. Never raises for a plugin's sake: read `records`. Raises SettingsError
    where `isolated` or `settings` name none that is installed: the one that was meant would run here, or without its settings.
    """
    entries = sorted(entry_points(group=hookspecs.GROUP) if found is None else found, key=_order)
    _check_installed("isolated", isolated, {EVERY, *(entry.name for entry in entries)})
    _check_installed("settings", settings, {entry.name for entry in entries})
    claims = Counter(entry.name for entry in entries)
    arriving: list[_Staged | _Loading] = []
    for entry in entries:
        if only is not None and entry.name not in only:
            arriving.append(_Staged(_record(entry, PluginState.OFF, "left out by settings.plugins.only")))
        elif entry.name == BUILTIN or claims[entry.name] > 1:
            arriving.append(_Staged(_record(entry, PluginState.BROKEN, _duplicate_cause(entry, entries))))
        elif not is_slug(entry.name):
            cause = f"its entry point is named {entry.name!r}; expected {SLUG}"
            arriving.append(_Staged(_record(entry, PluginState.BROKEN, cause)))
        else:
            apart = entry.name in isolated or EVERY in isolated
            process = IsolatedPlugin(entry.name, memory_bytes=memory_bytes, seconds=setup_seconds) if apart else None
            given = settings.get(entry.name, {}), folder
            arriving.append(_Loading(entry, process, *given, seconds=setup_seconds))
    staged = [_load_module(PluginRecord(BUILTIN, "moderation", __version__, PluginState.LOADED), builtin, own)]
    staged += _loaded(arriving)
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
    readers: ReaderRegistry = field(default_factory=lambda: ReaderRegistry(""))
    sinks: SinkRegistry = field(default_factory=lambda: SinkRegistry(""))

    def broken(self, cause: str) -> _Staged:
        """The same plugin, everything it registered taken back; what it would have brought stays in the record."""
        return _Staged(replace(self.record, state=PluginState.BROKEN, cause=cause))


class _Loading:
    """One entry point that is loaded on a thread, because only so can it be left behind: importing a module may take for ever."""

    def __init__(
        self,
        entry: EntryPoint,
        isolated: IsolatedPlugin | None,
        settings: PluginSection,
        folder: Path,
        *,
        seconds: float,
    ) -> None:
        self.isolated = isolated
        self._entry, self._given, self._seconds = entry, (settings, folder), seconds
        self._staged: _Staged | None = None
        self._began = 0.0
        self._thread = threading.Thread(target=self._load, daemon=True, name="plugin")

    def start(self) -> None:
        """Begin to load it."""
        self._began = time.perf_counter()
        self._thread.start()

    def staged(self) -> _Staged:
        """What it registered, waited for as long as it may take; one that is isolated ends by itself, for its process has its own time."""
        self._thread.join(None if self.isolated else self._seconds)
        found = self._staged or self._left_behind()
        milliseconds = 1e3 * (time.perf_counter() - self._began)
        told = found.record.kind or "nothing"
        TRACE.debug("plugin %s: loading took %.1f ms: %s, %s", self._entry.name, milliseconds, found.record.state, told)
        return found

    def _left_behind(self) -> _Staged:
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001 - documented, and the only way to ask
        record = _record(self._entry, PluginState.BROKEN, f"loading it took longer than {self._seconds:g} s")
        return _Staged(replace(record, place=f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else ""))

    def _load(self) -> None:
        record = _record(self._entry, PluginState.LOADED, "")
        try:
            module = self.isolated or self._entry.load()
        except BaseException as error:  # noqa: BLE001 - a module may do anything when imported, even call sys.exit()
            broken = replace(record, state=PluginState.BROKEN, cause=f"cannot be imported: {describe(error)}")
            self._staged = _Staged(replace(broken, place=_place()))
        else:
            staged = _load_module(replace(record, isolated=self.isolated is not None), module, *self._given)
            if self.isolated:
                told = tuple(name for name in hook_names() if name in self.isolated.hooks)
                staged.record = replace(staged.record, hooks=told)
            self._staged = staged


def _loaded(found: Iterable[_Staged | _Loading]) -> Iterator[_Staged]:
    """All of them, in order. Processes start side by side; what is imported here is imported one after the other."""
    all_ = list(found)
    for one in all_:
        if isinstance(one, _Loading) and one.isolated:
            one.start()
    for one in all_:
        if isinstance(one, _Staged):
            yield one
        else:
            if not one.isolated:
                one.start()
            yield one.staged()


def _load_module(
    record: PluginRecord, module: object, settings: PluginSection = MappingProxyType({}), folder: Path = Path()
) -> _Staged:
    own = record.id, settings, folder
    staged = _Staged(
        record,
        DetectorRegistry(*own),
        EncoderRegistry(*own),
        FetcherRegistry(*own),
        ReaderRegistry(*own),
        SinkRegistry(*own),
    )
    place = ""
    try:
        _call_hooks(module, staged)
    except BaseException as error:  # noqa: BLE001 - as above: its hooks are its own code
        failed: str | None = describe(error)
        place = _place()
    else:
        failed = None
    staged.record = replace(
        staged.record,
        detectors=tuple(staged.detectors.detectors),
        readers=tuple(staged.readers.readers),
        encoders=tuple(staged.encoders.loaders),
        fetchers=tuple(staged.fetchers.makers),
        sinks=tuple(staged.sinks.sinks),
        place=place,
    )
    return staged if failed is None else staged.broken(f"cannot be registered: {failed}")


def _call_hooks(module: object, staged: _Staged) -> None:
    """Each plugin gets a pluggy manager of its own, so that one that raises cannot discard what others returned."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=staged.record.id)
    manager.check_pending()
    hooks = manager.get_hookcallers(module)
    staged.record = replace(staged.record, hooks=tuple(sorted(one.name for one in hooks or ())))
    if not hooks:
        raise PluginError(staged.record.id, f"implements no hook; expected one of {', '.join(hook_names())}")
    manager.hook.register_detectors(registry=staged.detectors)
    manager.hook.register_readers(registry=staged.readers)
    manager.hook.register_encoders(registry=staged.encoders)
    manager.hook.register_fetchers(registry=staged.fetchers)
    manager.hook.register_sinks(registry=staged.sinks)


def _place() -> str:
    """Where the error that is being handled was raised: the last frame of its traceback. Nothing of the error itself is asked."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


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
    claims += [("reader", name) for name in one.readers.readers]
    claims += [("loader", name) for name in one.encoders.loaders]
    claims += [("sink", name) for name in one.sinks.sinks]
    return claims + [("scheme", name) for name in one.fetchers.makers]


def _in_force(staged: Sequence[_Staged], lives: Lives) -> Plugins:
    return Plugins(
        records=tuple(one.record for one in staged),
        detectors={name: it for one in staged for name, it in one.detectors.detectors.items()},
        loaders={name: it for one in staged for name, it in one.encoders.loaders.items()},
        fetchers={name: it for one in staged for name, it in one.fetchers.makers.items()},
        readers={name: it for one in staged for name, it in one.readers.readers.items()},
        sinks={name: it for one in staged for name, it in one.sinks.sinks.items()},
        lives=lives,
    )


def _check_installed(key: str, names: Iterable[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            others = sorted(set(known) - {EVERY})
            raise SettingsError(f"settings: plugins.{key}: no plugin {name!r} is installed{did_you_mean(name, others)}")


def _missing(name: str, names: Sequence[str]) -> _Staged:
    cause = f"settings.plugins.only names it, but it is not installed{did_you_mean(name, names)}"
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
