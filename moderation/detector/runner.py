"""Runs units, which are detectors or readers: each alone, against a deadline, its answer checked, its faults counted and in the end quarantined.

One rule for all: a fault of a unit becomes an abstention of that unit, never an answer and never an exception. A
deadline costs a thread, so it is for units that came from outside; trusted ones (ours, bounded arithmetic) run on
the calling thread while the others work, and are checked and counted in the same way. Of those from outside, one that has
a process of its own is ended at its deadline; any other can only be left behind.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from moderation.decision import Abstention
from moderation.detector.answers import check_answers
from moderation.detector.base import Detection, DetectionBatch, Detector
from moderation.detector.faults import BAD_ANSWER, QUARANTINED, WRONG, FaultError, kind_of
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.life import Unit
from moderation.sections import RunnerSettings

# An overrun call cannot be stopped, only left behind. So many of one unit may be left at once before it gets no more.
MOST_OVERRUNS = 4
NO_TIME_LEFT = "no_time_left"  # others, whose scores it needs, took it all

Batch = TypeVar("Batch", bound=Sized)
Answer = TypeVar("Answer")
Check = Callable[[object, int], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one unit did so far: calls, parts judged, faulty calls by reason, parts it was not shown while in quarantine or for want of time.

    `restarts` counts how often its process had to be replaced, since it was first started; 0 of one without.
    """

    calls: int
    parts: int
    faults: Mapping[str, int]
    refused: int
    quarantined: bool
    restarts: int = 0


class UnitRunner(Generic[Batch, Answer]):
    """Runs units of one kind on batches, one after the other, whatever thread they come from.

    `trusted` names those that run on the calling thread, without a deadline. A unit may be called
    while an earlier call of it that overran is still at work. What is known of units that `earlier` has too (the very same objects:
    a plugin's, whatever builds use them) is kept: their rest in quarantine, and their calls that overran. Raises ValueError when two
    share an id.
    """

    kind: ClassVar[str]  # in the reasons of its faults

    def __init__(
        self,
        units: Iterable[Unit],
        *,
        trusted: Collection[str] = (),
        settings: RunnerSettings | None = None,
        earlier: UnitRunner[Batch, Answer] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[_Call, float], bool] | None = None,
    ) -> None:
        self._settings = settings or RunnerSettings()
        self._clock = clock
        self._wait = wait or _Call.wait
        self._running: threading.Lock = earlier._running if earlier else threading.Lock()  # noqa: SLF001 - both may run for a while
        known = {id(one.unit): one for one in earlier._guards.values()} if earlier else {}  # noqa: SLF001
        self._guards: dict[str, _Guard] = {}
        for unit in units:
            guard = known.get(id(unit)) or _Guard(unit, unit.id, self._check(unit), trusted=unit.id in trusted)
            if guard.id in self._guards:
                raise ValueError(f"two {self.kind}s have the id {guard.id!r}; expected every id once")
            self._guards[guard.id] = guard

    def run(self, batches: Mapping[str, Batch]) -> dict[str, tuple[Answer | Abstention, ...]]:
        """Answers by the unit's id, one for each part of its batch, in order.

        All share one deadline, counted from when it is their turn; a unit with an empty batch is not called.
        """
        with self.turn() as run:
            return run(batches)

    @contextmanager
    def turn(self) -> Iterator[Callable[[Mapping[str, Batch]], dict[str, tuple[Answer | Abstention, ...]]]]:
        """What runs units, wave after wave, against one deadline, counted from when it is their turn.

        Whose wave comes when no time is left is not called, and not blamed.
        """
        with self._running:
            yield partial(self._run, self._clock() + self._settings.timeout_seconds)

    def _run(self, deadline: float, batches: Mapping[str, Batch]) -> dict[str, tuple[Answer | Abstention, ...]]:
        calls = {
            id_: self._start(self._guards[id_], batch, deadline)
            for id_, batch in self._outsiders_first(batches)
            if len(batch)
        }
        done = {id_: self._finish(self._guards[id_], call, deadline) for id_, call in calls.items()}
        return {id_: done.get(id_, ()) for id_ in batches}

    def counts(self) -> dict[str, Counts]:
        """What every unit did so far."""
        return {id_: guard.counts() for id_, guard in self._guards.items()}

    def _call(self, unit: Any, batch: Batch, seconds: float) -> object:
        """Call a unit, which has so many seconds; what it raises is its own fault."""
        raise NotImplementedError

    def _check(self, unit: Any) -> Check:
        """What makes of a unit's answer to so many parts one good answer a part, an abstention `bad_answer` (WRONG) where there is none.

        What it needs to know of the unit is asked now, once, so that it cannot change under way.
        """
        raise NotImplementedError

    def _outsiders_first(self, batches: Mapping[str, Batch]) -> list[tuple[str, Batch]]:
        return sorted(batches.items(), key=lambda pair: self._guards[pair[0]].trusted)

    def _start(self, guard: _Guard, batch: Batch, deadline: float) -> _Call:
        seconds = max(0.0, deadline - self._clock())
        work = partial(self._call, guard.unit, batch, seconds)
        call = _Call(guard, work, len(batch), kind=self.kind)
        guard.overruns = [one for one in guard.overruns if not one.finished]
        if guard.retry_at is not None and self._clock() < guard.retry_at:
            call.settle(_Result(QUARANTINED))
        elif len(guard.overruns) >= MOST_OVERRUNS:
            call.settle(_Result(self._timeout))
        elif guard.trusted:
            call.run_here()
        elif not seconds:
            call.settle(_Result(self._timeout, cause=NO_TIME_LEFT))
        else:
            call.run_on_a_thread()
        return call

    @property
    def _timeout(self) -> str:
        return f"{self.kind}_timeout"

    def _finish(self, guard: _Guard, call: _Call, deadline: float) -> tuple[Answer | Abstention, ...]:
        in_time = self._wait(call, max(0.0, deadline - self._clock()))
        # Read once: an overrun call may still answer later, and what it leaves then is nobody's.
        result = call.result if in_time else None
        if result is None:
            result = _Result(self._timeout)
            guard.overruns.append(call)
        parts = call.parts
        if result.fault == QUARANTINED or result.cause == NO_TIME_LEFT:
            guard.refused += parts
        else:
            self._record(guard, result.fault)
        if result.answers is None:
            return (Abstention(result.fault or BAD_ANSWER, cause=result.cause),) * parts
        guard.parts += parts
        return result.answers

    def _record(self, guard: _Guard, fault: str | None) -> None:
        guard.calls += 1
        if fault is None:
            guard.in_a_row, guard.retry_at = 0, None
            return
        guard.faults[fault] += 1
        guard.in_a_row += 1
        # Half-open: after the rest one call is tried; `in_a_row` still stands, so one more fault ends the trial.
        if guard.in_a_row >= self._settings.faults_before_quarantine:
            guard.retry_at = self._clock() + self._settings.quarantine_seconds


class Runner(UnitRunner[DetectionBatch, Detection]):
    """Runs detectors."""

    kind = "detector"

    def _call(self, unit: Detector, batch: DetectionBatch, seconds: float) -> object:
        if isinstance(unit, IsolatedDetector):
            return unit.detect(batch, seconds=seconds)
        return unit.detect(batch)

    def _check(self, unit: Detector) -> Check:
        return partial(check_answers, labels=frozenset(unit.labels))


@dataclass(slots=True)
class _Guard:
    """One unit and its record. Its id is read once, so that it cannot change under way."""

    unit: Unit
    id: str
    check: Check
    trusted: bool
    calls: int = 0
    parts: int = 0
    refused: int = 0
    in_a_row: int = 0
    retry_at: float | None = None
    faults: Counter[str] = field(default_factory=Counter)
    overruns: list[_Call] = field(default_factory=list)

    def counts(self) -> Counts:
        restarts = max(0, self.unit.starts - 1) if isinstance(self.unit, IsolatedDetector) else 0
        return Counts(self.calls, self.parts, dict(self.faults), self.refused, self.retry_at is not None, restarts)


@dataclass(frozen=True, slots=True)
class _Result:
    """How a call ended: with checked answers, with a fault, or (for `bad_answer`) with both."""

    fault: str | None = None
    answers: tuple[Any, ...] | None = None
    cause: str = ""


class _Call:
    """One call of one unit on so many parts, which is what `work` does, and where its result arrives."""

    def __init__(self, guard: _Guard, work: Callable[[], object], parts: int, *, kind: str) -> None:
        self.unit, self._check, self._do, self.parts, self._kind = guard.unit, guard.check, work, parts, kind
        self.result: _Result | None = None
        self._done = threading.Event()

    @property
    def finished(self) -> bool:
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        return self._done.wait(seconds)

    def settle(self, result: _Result) -> None:
        self.result = result
        self._done.set()

    def run_here(self) -> None:
        try:
            result = self._work()
        except Exception as error:  # noqa: BLE001 - whatever it raises is its own fault; Ctrl-C is ours and goes on
            result = self._failure(error)
        self.settle(result)

    def run_on_a_thread(self) -> None:
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

    def _work(self) -> _Result:
        # Checked here, inside the guard: a hostile answer may hang or raise when it is looked at.
        answers = self._check(self._do(), self.parts)
        return _Result(BAD_ANSWER if any(one is WRONG for one in answers) else None, answers)

    def _failure(self, error: BaseException) -> _Result:
        if isinstance(error, FaultError):
            return _Result(error.reason, cause=error.cause)
        return _Result(f"{self._kind}_error", cause=kind_of(error))
