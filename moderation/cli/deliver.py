"""`moderation deliver`: decisions from a topic to a sink, until it is told to stop."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from moderation.cli.process import run_until_told
from moderation.cli.worker import place


def deliver(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.toml", help="Settings with the sections stream and deliver.", dir_okay=False),
    ],
) -> None:
    """Hand the decisions of a Kafka topic to a sink, such as a webhook, each at least once, until SIGTERM or SIGINT.

    The decision's id is the same each time. A sink that fails is waited for; what it refuses for good becomes a dead letter of stage deliver. The
    process ends and is started again as a worker is, with the same exit codes.

    Example: moderation deliver deliver.toml
    """
    from moderation import assemble_deliver
    from moderation.settings import load_settings

    settings = load_settings(config)
    run_until_told(
        partial(assemble_deliver.deliverer, settings),
        logging.getLogger(__name__),
        log=settings.deliver.log if settings.deliver else "text",
        told=lambda: place(settings),
    )
