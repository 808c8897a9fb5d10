"""Packages that only an extra brings: whether one is installed, and what is said where it is not."""

from __future__ import annotations

import importlib.util

from moderation.errors import SettingsError


def installed(package: str) -> bool:
    """Whether a package is there; it is not imported."""
    return importlib.util.find_spec(package) is not None


def need(package: str, *, extra: str) -> None:
    """Raises SettingsError where a package that only this extra brings is not installed."""
    if not installed(package):
        raise SettingsError(f'this needs {package}, which is not installed; try: pip install "moderation[{extra}]"')
