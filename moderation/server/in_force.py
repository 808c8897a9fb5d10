"""What decides, and for whom: a set of builds and of keys, all of which another one takes the place of at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moderation.errors import SettingsError
from moderation.pipeline import Pipeline
from moderation.sections import KeySettings, ServeSettings
from moderation.server.errors import denied
from moderation.settings import load_settings

Keys = Mapping[str, KeySettings] | None  # by the caller's name; None where everybody is answered

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
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

    def revoke(self, now: Keys) -> None:
        """Answer no key that is not among those of now, from now on."""
        kept = {name: key for name, key in (self.keys or {}).items() if _same(key, (now or {}).get(name))}
        for name in sorted({*(self.keys or {})} - {*kept}):
            _log.warning("key of %s: taken away", name)
        self.keys = kept if self.keys is not None else None

    def tell_new(self, before: Keys) -> None:
        """Log what keys count, or count otherwise, that did not before."""
        for name, key in sorted((self.keys or {}).items()):
            if key != (before or {}).get(name):
                _log.warning("key of %s: in force", name)


def keys_of(own: ServeSettings, file: Path | None) -> Keys:
    """The keys by now, as the settings file says, or those of the start without one. Raises SettingsError where it cannot be read, or where it leaves nobody: that would let everybody in."""
    keys = own.keys
    if file:
        found = load_settings(file).serve
        keys = found.keys if found else {}
    if own.keys and not keys:
        raise SettingsError(f"settings ({file}): serve.keys: none is left; expected at least one, as at the start")
    return keys or None


def _same(key: KeySettings, other: KeySettings | None) -> bool:
    return other is not None and key.sha256 == other.sha256
