"""A plugin whose code never runs in this process: what it brings is asked of another one, which is all that knows it."""

from __future__ import annotations

import json
import sys

from moderation.detector.faults import FaultError
from moderation.detector.isolated import IsolatedDetector, greeting_of, how_it_died
from moderation.detector.life import SETUP_SECONDS
from moderation.errors import PluginError
from moderation.plugin.hookspecs import hookimpl
from moderation.plugin.registry import DetectorRegistry

NO_DETECTOR = ""  # in place of the one that a process is for: it only says what there is


class IsolatedPlugin:
    """Stands where the plugin's own module would; each detector that it registers gets a process, of at most `memory_bytes` (0: no limit).

    A process has so many `seconds` to start, in which it sets its detector up.
    """

    def __init__(self, plugin: str, *, memory_bytes: int = 0, seconds: float = SETUP_SECONDS) -> None:
        self._plugin, self._seconds = plugin, seconds
        # -P: of its own accord the process adds no place to look in (`-m` would add the working directory); it gets the places of this one.
        self._command = (sys.executable, "-P", "-m", "moderation.plugin.child", plugin, str(memory_bytes))

    @hookimpl
    def register_detectors(self, registry: DetectorRegistry) -> None:
        """Register what its process says that it has. Raises PluginError where it does not say so, or says that the plugin is broken."""
        try:
            told = {"settings": dict(registry.settings), "folder": str(registry.folder)}
            given = json.dumps(told, default=str).encode()  # not in its arguments, which everybody may read
            greeting = greeting_of((*self._command, NO_DETECTOR), given=given, seconds=self._seconds)
        except FaultError as fault:
            raise PluginError(self._plugin, f"{how_it_died(fault)} before it said what it brings") from None
        if greeting.broken:
            raise PluginError(self._plugin, greeting.broken)
        for described in greeting.detectors:
            command = (*self._command, described.id)
            registry.add(IsolatedDetector(described, command, given=given, start_seconds=self._seconds))
