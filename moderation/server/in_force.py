"""What decides, and for whom: a set of builds and of keys, all of which another one takes the place of at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from moderation.errors import SettingsError
from moderation.pipeline import Pipeline
from moderation.sections import KeySettings
from moderation.server.errors import denied
from moderation.settings import load_settings

Keys = Mapping[str, KeySettings] | None  # by the caller's name; None where everybody is answered

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """What decides for all policies, and for each set of them that some of the keys is bound to."""

    everything: Pipeline
    of: Mapping[frozenset[str], Pipeline]
    keys: Keys

    def pipeline(self, caller: str) -> Pipeline:
        """What decides for a caller. Raises ApiError for one whose key was taken away since it asked."""
        if self.keys is None:
            return self.everything
        if (key := self.keys.get(caller)) is None:
            raise denied()
        return self.everything if key.policies is None else self.of[frozenset(key.policies)]

    def among(self, now: Keys) -> InForce:
        """The same for those keys alone that are among these, None where there were never any."""
        if self.keys is None or now is None:
            return self
        return replace(self, keys={name: key for name, key in self.keys.items() if _same(key, now.get(name))})

    def tell_new(self, before: Keys) -> None:
        """Log what keys count, or count otherwise, that did not before."""
        for name, key in sorted((self.keys or {}).items()):
            if key != (before or {}).get(name):
                _log.warning("key of %s: in force", name)


class Standing:
    """What of a build is in force: for those of its keys that stand in the settings file now. Put together once for each change, since every request asks."""

    def __init__(self, build: Callable[[], InForce], keys: Callable[[], Keys]) -> None:
        self._build, self._keys = build, keys
        self._known: tuple[InForce, Keys, InForce] | None = None

    def __call__(self) -> InForce:
        """As of now. Safe to call from several threads."""
        build, keys, known = self._build(), self._keys(), self._known
        if known is None or known[0] is not build or known[1] is not keys:
            known = self._known = build, keys, build.among(keys)
        return known[2]


def keys_of(before: Keys, file: Path | None) -> Keys:
    """The keys by now, as the settings file says, or those before without one. Raises SettingsError where it cannot be read, or where it leaves nobody: that would let everybody in."""
    if file is None:
        return before
    found = load_settings(file).serve
    keys = found.keys if found else {}
    if before is not None and not keys:
        raise SettingsError(f"settings ({file}): serve.keys: none is left; expected at least one, as before")
    return keys or None


def tell_gone(before: Keys, now: Keys) -> None:
    """Log what keys count no more."""
    for name, key in sorted((before or {}).items()):
        if not _same(key, (now or {}).get(name)):
            _log.warning("key of %s: taken away", name)


def _same(key: KeySettings, other: KeySettings | None) -> bool:
    return other is not None and key.sha256 == other.sha256
