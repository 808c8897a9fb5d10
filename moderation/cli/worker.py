"""`moderation worker`: decisions on a stream, until it is told to stop."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation.cli.process import run_until_told
from moderation.telemetry import GROUP

if TYPE_CHECKING:
    from moderation.settings import Settings


def worker(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.toml", help="Settings with the sections stream and worker.", dir_okay=False),
    ],
) -> None:
    """Decide on the records of a Kafka topic, each exactly once, until SIGTERM or SIGINT.

    What is in work is finished first; a second signal leaves at once, and loses nothing either. The process never repairs a broken
    connection in place: it ends, and its supervisor starts it again. After exit codes 69, 70 and 75 it may; after 65, 73, 76 and 77 a
    person must look.

    Example: moderation worker worker.toml
    """
    from moderation import assemble_worker
    from moderation.settings import load_settings

    settings = load_settings(config)
    run_until_told(
        partial(assemble_worker.worker, settings, folder=config.parent),
        logging.getLogger(__name__),
        log=settings.worker.log if settings.worker else "text",
        told=lambda: place(settings),
    )


def place(settings: Settings) -> dict[str, Any]:
    """What a log should hold once: which software this is, who it is, and where it reads and writes."""
    from moderation import __version__, assemble

    stream = assemble.stream_settings(settings)
    return {
        "service.version": __version__,
        GROUP: stream.group,
        "slot": stream.slot,
        "inputs": " ".join(stream.inputs),
        "outputs": " ".join(assemble.output_topics(settings)),
    }
