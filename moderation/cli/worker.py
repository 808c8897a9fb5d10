"""`moderation worker`: decisions on a stream, until it is told to stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation.telemetry import GROUP

if TYPE_CHECKING:
    from moderation.settings import Settings

_log = logging.getLogger(__name__)


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
    from moderation import assemble, telemetry
    from moderation.errors import ExitCode, ModerationError, StreamError
    from moderation.settings import load_settings
    from moderation.stream.liveness import leave

    settings = load_settings(config)
    telemetry.start(settings.worker.log if settings.worker else "text")
    stop = threading.Event()

    def end(number: int, _frame: Any) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        with assemble.worker(settings, folder=config.parent, stop=stop) as ready:
            _log.info("ready", extra={"told": _place(settings)})
            try:
                ready.run()
            except StreamError as error:
                leave(error)  # at once: no clean-up of ours is waited for
            except (
                ModerationError
            ) as error:  # such as an encoder that worked and fails on everything now: a new process may not
                leave(StreamError(str(error), exit_code=ExitCode.RESTART))
    except StreamError as error:
        leave(error)
    except ModerationError as error:
        _log.critical("cannot go on: %s", error, extra={"told": {telemetry.ERROR: error.code}})
        raise typer.Exit(error.exit_code) from None
    except Exception:  # noqa: BLE001 - whatever it is, threads at work must not keep the process alive
        _log.critical("not caught", exc_info=True)
        leave(StreamError("ended by an exception that nobody foresaw", exit_code=ExitCode.INTERNAL))
    _log.info("stopped in good order")


def _place(settings: Settings) -> dict[str, Any]:
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
