"""`moderation doctor`: the command; what it looks at is in health.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def doctor(
    config: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG.toml", help="A worker's settings; else those of MODERATION_SETTINGS.", dir_okay=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object, keys stable.")] = False,
) -> None:
    """Look at everything a run depends on: device, versions, encoder, plugins, Redis, settings; for a worker its brokers, topics and locks, too.

    Leaves with a non-zero exit code when something is unusable. Nothing is written, and a running worker is not disturbed.

    Example: moderation doctor worker.toml
    """
    from moderation.cli import health

    health.report(config, as_json=as_json)
