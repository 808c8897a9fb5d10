"""How a process on a stream begins, is told to stop, and ends with the code that its supervisor understands."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import typer

from moderation.telemetry import Form


class Loop(Protocol):
    """What works until it is told to stop."""

    def run(self) -> None:
        """The loop."""
        ...


class Make(Protocol):
    """Makes the loop, and lets go of everything once it has ended."""

    def __call__(self, *, stop: threading.Event) -> AbstractContextManager[Loop]:
        """A loop that runs until `stop` is set."""
        ...


GARBAGE = 50_000  # objects that may have been made and not let go of before any is looked through


@contextmanager
def settled_heap() -> Iterator[None]:
    """Spare Python's garbage collector what is loaded by now, and let it look at the rest more seldom.

    By itself it goes through half a million objects of torch and its like again and again: a tenth of a worker's time, and a
    server stands still for some tenths of a second each time.
    """
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()  # or libraries complain at the end of what was never let go of


def run_until_told(make: Make, logger: logging.Logger, *, log: Form, told: Callable[[], Mapping[str, Any]]) -> None:
    """Run the loop until SIGTERM or SIGINT; a second one leaves at once. `told` is what the log should hold once, when it is ready.

    The process ends by itself wherever the loop cannot go on: with the error's exit code, no clean-up being waited for.
    """
    from moderation import telemetry
    from moderation.errors import ExitCode, ModerationError, StreamError
    from moderation.stream.liveness import leave

    telemetry.start(log)
    stop = threading.Event()

    def end(number: int, _frame: Any) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        with make(stop=stop) as ready:
            logger.info("ready", extra={"told": told()})
            try:
                with settled_heap():
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
        logger.critical("cannot go on: %s", error, extra={"told": {telemetry.ERROR: error.code}})
        raise typer.Exit(error.exit_code) from None
    except Exception:
        logger.critical("not caught", exc_info=True)
        leave(StreamError("ended by an exception that nobody foresaw", exit_code=ExitCode.INTERNAL))
    logger.info("stopped in good order")
