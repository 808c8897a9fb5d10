"""A plugin whose code never runs in this process: what it brings is asked of another one, which is all that knows it."""

from __future__ import annotations

import json
import sys

from moderation.detector.faults import FaultError
from moderation.detector.isolated import IsolatedDetector, greeting_of, how_it_died
from moderation.detector.life import SETUP_SECONDS
from moderation.detector.wire import Greeting
from moderation.errors import PluginError
from moderation.plugin.hookspecs import hookimpl
from moderation.plugin.registry import DetectorRegistry, ReaderRegistry
from moderation.reader.isolated import IsolatedReader

_NOBODY = ("", "")  # in place of the kind and id of whom a process is for: it only says what there is


class IsolatedPlugin:
    """Stands where the plugin's own module would; each detector and reader that it registers gets a process, of at most `memory_bytes` (0: no limit).

    A process has so many `seconds` to start, in which it sets its detector or reader up.
    """

    def __init__(self, plugin: str, *, memory_bytes: int = 0, seconds: float = SETUP_SECONDS) -> None:
        self._plugin, self._seconds = plugin, seconds
        # -P: of its own accord the process adds no place to look in (`-m` would add the working directory); it gets the places of this one.
        self._command = (sys.executable, "-P", "-m", "moderation.plugin.child", plugin, str(memory_bytes))
        self._given, self._greeting = b"", Greeting()

    @property
    def hooks(self) -> tuple[str, ...]:
        """Those that the plugin itself implements, as its process says."""
        return self._greeting.hooks

    @hookimpl
    def register_detectors(self, registry: DetectorRegistry) -> None:
        """Register detectors that its process says that it has. Raises PluginError where it does not say so, or says that the plugin is broken."""
        told = {"settings": dict(registry.settings), "folder": str(registry.folder)}
        self._given = json.dumps(told, default=str).encode()  # not in its arguments, which everybody may read
        try:
            self._greeting = greeting_of((*self._command, *_NOBODY), given=self._given, seconds=self._seconds)
        except FaultError as fault:
            raise PluginError(self._plugin, f"{how_it_died(fault)} before it said what it brings") from None
        if self._greeting.broken:
            raise PluginError(self._plugin, self._greeting.broken)
        for one in self._greeting.detectors:
            command = (*self._command, "detector", one.id)
            registry.add(IsolatedDetector(one, command, given=self._given, start_seconds=self._seconds))

    @hookimpl
    def register_readers(self, registry: ReaderRegistry) -> None:
        """Register the readers that it has, as its process said a moment ago: detectors are registered first."""
        for one in self._greeting.readers:
            command = (*self._command, "reader", one.id)
            registry.add(IsolatedReader(one, command, given=self._given, start_seconds=self._seconds))
