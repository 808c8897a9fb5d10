"""The life of a unit, which is what a plugin brings to be called with batches: set up once in a process, before its first batch, closed at the end.

Of `setup()` (heavy work), `verify()` (raises where it is not what it should be) and `close()` a unit has those that it needs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from moderation.detector.faults import SetupError, describe, kind_of
from moderation.telemetry import TRACE

SETUP_SECONDS = 120.0  # what setting up may take by default: it may load a model
CLOSE_SECONDS = 10.0  # for all of them together
STEPS = ("setup", "verify", "close")

_log = logging.getLogger(__name__)


class Unit(Protocol):
    """A detector, or a reader."""

    @property
    def id(self) -> str:
        """A short name, unique among its kind."""
        ...


def take(unit: object, step: str) -> None:
    """Take one of the STEPS, where the unit has it. Raises what it raises."""
    getattr(unit, step, lambda: None)()


def set_up(unit: object) -> None:
    """Call what the unit has of `setup` and `verify`. Raises SetupError that says which of them failed, and how."""
    for step in ("setup", "verify"):
        try:
            take(unit, step)
        except SetupError:
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it raises is its own fault, even SystemExit
            raise SetupError(f"{step} failed: {describe(error)}") from None


class Lives:
    """Sets units up, each once, and closes them; safe to call from several threads.

    Who is still at it after `seconds` is left behind, and waited for again when it is needed again; who failed is tried again then.
    """

    def __init__(self, seconds: float = SETUP_SECONDS) -> None:
        self._seconds = seconds
        self._lives: dict[int, _Life] = {}  # by identity: units need not be hashable, and nobody forgets one
        self._turn = threading.Lock()

    def begin(self, units: Iterable[Unit]) -> dict[str, str]:
        """Set up those that are not yet, side by side. By id, what went wrong: nothing at all where all are ready."""
        deadline = time.monotonic() + self._seconds
        with self._turn:
            lives = [self._life(one) for one in units if any(hasattr(one, step) for step in STEPS)]
        for life in lives:
            life.thread.join(max(0.0, deadline - time.monotonic()))
        late = f"setup took longer than {self._seconds:g} s"
        return {one.unit.id: late if one.cause is None else one.cause for one in lives if one.cause != ""}

    def close(self) -> None:
        """Close those that are set up, side by side. What fails, or takes too long, is told in the log and stops nobody.

        Who is still being set up is not waited for, and closed as soon as it is ready.
        """
        deadline = time.monotonic() + CLOSE_SECONDS
        with self._turn:
            lives = list(self._lives.values())
            self._lives.clear()
        closing = [(one, one.close()) for one in lives]
        for life, thread in closing:
            if life.cause is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    _log.warning("%s cannot be closed: it took longer than %g s", life.unit.id, CLOSE_SECONDS)

    def _life(self, unit: Unit) -> _Life:
        known = self._lives.get(id(unit))
        if known is None or known.cause:
            known = self._lives[id(unit)] = _Life(unit)
        return known


class _Life:
    """One unit's being set up, on a thread, because only so can it be left behind. `cause`: None as long as it lasts, "" once it is ready."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.cause: str | None = None
        self.thread = _started("setup", self._set_up)

    def close(self) -> threading.Thread:
        """Begin to close it, on a thread that waits until it is set up."""
        return _started("close", self._close)

    def _set_up(self) -> None:
        began = time.perf_counter()
        try:
            set_up(self.unit)
        except SetupError as error:
            cause = str(error)
        else:
            cause = ""
        TRACE.debug(
            "%s: setup took %.1f ms%s", self.unit.id, 1e3 * (time.perf_counter() - began), cause and " and failed"
        )
        self.cause = cause

    def _close(self) -> None:
        self.thread.join()
        if self.cause != "":
            return
        TRACE.debug("%s: close", self.unit.id)
        try:
            take(self.unit, "close")
        except BaseException as error:  # noqa: BLE001 - as above; it is needed no more
            _log.warning("%s cannot be closed: %s", self.unit.id, kind_of(error))


def _started(step: str, work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True, name=step)
    thread.start()
    return thread
