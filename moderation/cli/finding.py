"""What `moderation doctor` finds: one thing that was looked at, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderation.errors import ExitCode

if TYPE_CHECKING:
    from moderation.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. Where `usable` is false, the installation cannot do its work.

    What was not `looked_at` is not known to be wrong, and neither is it usable.
    """

    name: str
    usable: bool
    summary: str
    details: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = ExitCode.OK
    looked_at: bool = True


Check = Callable[[Path | None], Finding]  # of the settings file, if there is one


def load(file: Path | None) -> Settings:
    """The settings that a check is about. Raises SettingsError."""
    from moderation.settings import load_settings

    return load_settings(file)
