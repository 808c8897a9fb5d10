"""`moderation doctor`: the command; what it looks at is in health.py."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object, keys stable.")] = False,
) -> None:
    """Look at everything a run depends on: device, versions, encoder, plugins, settings.

    Leaves with a non-zero exit code when something is unusable.

    Example: moderation doctor --json
    """
    from moderation.cli import health

    health.report(as_json=as_json)
