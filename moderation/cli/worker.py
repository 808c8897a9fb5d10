"""`moderation worker`: decisions on a stream, until it is told to stop."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from moderation.cli import terminal


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
    from moderation import assemble
    from moderation.errors import StreamError
    from moderation.settings import load_settings
    from moderation.stream.liveness import leave

    settings = load_settings(config)
    stop = threading.Event()

    def end(number: int, _frame: Any) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        with assemble.worker(settings, folder=config.parent, stop=stop) as ready:
            terminal.note("worker: ready")
            ready.run()
    except StreamError as error:
        terminal.error(error)
        leave(error)
    terminal.note("worker: stopped in good order")
