"""How a load test ends: what it found is told, then which bounds are broken, which fails it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from moderation.cli import terminal
from moderation.errors import ExitCode


def conclude(found: Mapping[str, Any], broken: Sequence[str], *, tell: Callable[[], object], as_json: bool) -> None:
    """Emit `found` as JSON, or `tell` it, with what is broken; leaves with exit code 8 where anything is."""
    if as_json:
        terminal.emit({**found, "broken": list(broken)})
    else:
        tell()
        for one in broken:
            terminal.say(f"broken: {one}")
    if broken:
        raise typer.Exit(ExitCode.OVER_BUDGET)
