"""One call of a unit: on this thread or on one of its own, and where its result arrives, if it does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moderation.detector.base import revision_of
from moderation.detector.faults import BAD_ANSWER, WRONG, FaultError, kind_of
from moderation.detector.life import Unit

Check = Callable[[object, int], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Result:
    """How a call ended: with checked answers, with a fault, or (for `bad_answer`) with both; `refused`: it was none, and nobody is blamed."""

    fault: str | None = None
    answers: tuple[Any, ...] | None = None
    cause: str = ""
    refused: bool = False
    revision: str = ""


class Call:
    """One call of one unit on so many parts, which is what `work` does, and where its result arrives."""

    def __init__(self, unit: Unit, work: Callable[[], object], check: Check, parts: int, *, kind: str) -> None:
        self.unit, self._check, self._do, self.parts, self._kind = unit, check, work, parts, kind
        self.result: Result | None = None
        self._done, self._began, self._ended = threading.Event(), time.perf_counter(), 0.0

    @property
    def milliseconds(self) -> float:
        """How long it took, or has taken so far."""
        return 1e3 * ((self._ended or time.perf_counter()) - self._began)

    @property
    def finished(self) -> bool:
        """Whether it has come to an end, in time or not."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for its end, so long at most; whether it came."""
        return self._done.wait(seconds)

    def settle(self, result: Result) -> None:
        """It has ended so."""
        self.result, self._ended = result, time.perf_counter()
        self._done.set()

    def run_here(self) -> None:
        """Do the work now."""
        try:
            result = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it raises is its own fault; Ctrl-C is ours and goes on
            result = self._failure(error)
        self.settle(result)

    def run_on_a_thread(self) -> None:
        """Begin the work, and come back."""
        try:
            threading.Thread(target=self._run_guarded, daemon=True, name=self._kind).start()
        except RuntimeError as error:  # no thread to be had
            self.settle(self._failure(error))

    def _run_guarded(self) -> None:
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C never arrives on this thread: even SystemExit is its own
            result = self._failure(error)
        self.settle(result)

    def _work(self) -> Result:
        # Checked here, inside the guard: a hostile answer, or revision, may hang or raise when it is looked at.
        answers = self._check(self._do(), self.parts)
        fault = BAD_ANSWER if any(one is WRONG for one in answers) else None
        return Result(fault, answers, revision=revision_of(self.unit))

    def _failure(self, error: BaseException) -> Result:
        if isinstance(error, FaultError):
            return Result(error.reason, cause=error.cause)
        return Result(f"{self._kind}_error", cause=kind_of(error))
