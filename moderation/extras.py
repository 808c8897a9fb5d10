"""Packages that only an extra brings: whether one is installed, and what is said where it is not."""

from __future__ import annotations

import importlib.util

from moderation.errors import SettingsError

# What the extra `serve` brings.
SERVER = ("fastapi", "httptools", "uvicorn")


def installed(package: str) -> bool:
    """Whether a package is there; it is not imported."""
    return importlib.util.find_spec(package) is not None


def need(*packages: str, extra: str) -> None:
    """Raises SettingsError where one of these packages, which only this extra brings, is not installed."""
    for package in packages:
        if not installed(package):
            raise SettingsError(f'this needs {package}, which is not installed; try: pip install "moderation[{extra}]"')
