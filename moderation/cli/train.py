"""`moderation train`: a training run from its configuration, and on from where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moderation.cli import terminal


def train(
    config: Annotated[Path, typer.Argument(help="The run's TOML file.", exists=True, dir_okay=False)],
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
) -> None:
    """Train an encoder as a configuration says, with checkpoints to resume from.

    Example: moderation train examples/bundled_encoder/train.toml --resume
    """
    from moderation.training.loop import train as run

    run(config, resume=resume, progress=terminal.note)
