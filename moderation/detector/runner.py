"""Runs units, which are detectors or readers: each alone, against a deadline, its answer checked, its faults counted and in the end quarantined.

One rule for all: a fault of a unit becomes an abstention of that unit, never an answer and never an exception. A
deadline costs a thread, so it is for units that came from outside; trusted ones (ours, bounded arithmetic) run on
the calling thread while the others work, and are checked and counted in the same way. Of those from outside, one that has
a process of its own is ended at its deadline; any other can only be left behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from moderation.decision import Abstention
from moderation.detector.answers import check_answers
from moderation.detector.base import Detection, DetectionBatch, Detector
from moderation.detector.call import Call, Check, Result
from moderation.detector.faults import BAD_ANSWER, QUARANTINED
from moderation.detector.isolated import IsolatedDetector, IsolatedUnit
from moderation.detector.life import Unit
from moderation.sections import RunnerSettings
from moderation.telemetry import TRACE

# An overrun call cannot be stopped, only left behind. So many of one unit may be left at once before it gets no more.
MOST_OVERRUNS = 4
_log = logging.getLogger(__name__)

NO_TIME_LEFT = "no_time_left"  # others, whose scores it needs, took it all

Batch = TypeVar("Batch", bound=Sized)
Answer = TypeVar("Answer")


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

    `revisions` are those of which their units spoke when they answered last, by id, "" where one states none; who never answered is not
    there. Each that is new is told in the log.
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
        wait: Callable[[Call, float], bool] | None = None,
    ) -> None:
        self._settings = settings or RunnerSettings()
        self._clock = clock
        self._wait = wait or Call.wait
        self._running: threading.Lock = earlier._running if earlier else threading.Lock()  # noqa: SLF001 - both may run for a while
        known = {id(one.unit): one for one in earlier._guards.values()} if earlier else {}  # noqa: SLF001
        self._guards: dict[str, _Guard] = {}
        for unit in units:
            guard = known.get(id(unit)) or _Guard(unit, unit.id, self._check(unit), trusted=unit.id in trusted)
            if guard.id in self._guards:
                raise ValueError(f"two {self.kind}s have the id {guard.id!r}; expected every id once")
            self._guards[guard.id] = guard
        self.revisions: Mapping[str, str] = {}
        self._note_revisions()

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
        self._note_revisions()
        return {id_: done.get(id_, ()) for id_ in batches}

    def counts(self) -> dict[str, Counts]:
        """What every unit did so far."""
        return {id_: guard.counts() for id_, guard in self._guards.items()}

    def _call(self, unit: Any, batch: Batch, seconds: float) -> object:
        """Call a unit, which has so many seconds; what it raises is its own fault."""
        raise NotImplementedError

    def _found(self, answers: Sequence[Any]) -> str:
        """What answers that are no abstentions found, in counts."""
        raise NotImplementedError

    def _in_counts(self, answers: Sequence[Any]) -> str:
        given = [one for one in answers if not isinstance(one, Abstention)]
        reasons = Counter(one.reason for one in answers if isinstance(one, Abstention))
        return ", ".join(
            [*([self._found(given)] if given else []), *(f"{why} {n}" for why, n in sorted(reasons.items()))]
        )

    def _check(self, unit: Any) -> Check:
        """What makes of a unit's answer to so many parts one good answer a part, an abstention `bad_answer` (WRONG) where there is none.

        What it needs to know of the unit is asked now, once, so that it cannot change under way.
        """
        raise NotImplementedError

    def _outsiders_first(self, batches: Mapping[str, Batch]) -> list[tuple[str, Batch]]:
        return sorted(batches.items(), key=lambda pair: self._guards[pair[0]].trusted)

    def _start(self, guard: _Guard, batch: Batch, deadline: float) -> Call:
        seconds = max(0.0, deadline - self._clock())
        work = partial(self._call, guard.unit, batch, seconds)
        call = Call(guard.unit, work, guard.check, len(batch), kind=self.kind)
        guard.overruns = [one for one in guard.overruns if not one.finished]
        if guard.retry_at is not None and self._clock() < guard.retry_at:
            call.settle(Result(QUARANTINED, refused=True))
        elif len(guard.overruns) >= MOST_OVERRUNS:
            call.settle(Result(self._timeout))
        elif guard.trusted:
            call.run_here()
        elif not seconds:
            call.settle(Result(self._timeout, cause=NO_TIME_LEFT, refused=True))
        else:
            call.run_on_a_thread()
        return call

    @property
    def _timeout(self) -> str:
        return f"{self.kind}_timeout"

    def _finish(self, guard: _Guard, call: Call, deadline: float) -> tuple[Answer | Abstention, ...]:
        in_time = self._wait(call, max(0.0, deadline - self._clock()))
        # Read once: an overrun call may still answer later, and what it leaves then is nobody's.
        result = call.result if in_time else None
        if result is None:
            result = Result(self._timeout)
            guard.overruns.append(call)
        parts = call.parts
        if result.refused:
            guard.refused += parts
        else:
            self._record(guard, result.fault)
        answers = result.answers
        if TRACE.isEnabledFor(logging.DEBUG):
            told = self._in_counts(answers) if answers else f"{result.fault} {parts}"
            TRACE.debug("%s %s: %d parts in %.1f ms: %s", self.kind, guard.id, parts, call.milliseconds, told)
        if answers is None:
            return (Abstention(result.fault or BAD_ANSWER, cause=result.cause),) * parts
        guard.parts += parts
        before, guard.revision = guard.revision or "none", result.revision
        if before != (now := result.revision or "none"):
            _log.info("%s %s: revision %s -> %s", self.kind, guard.id, before, now)
        return answers

    def _note_revisions(self) -> None:
        """Made anew, never changed: who reads it while another batch is judged sees all of one moment.

        After every batch, for another runner that has the same units may have heard of a new one first.
        """
        self.revisions = {id_: one.revision for id_, one in self._guards.items() if one.revision is not None}

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

    def _found(self, answers: Sequence[Any]) -> str:
        above = sum(any(score.value > 0.0 for score in one) for one in answers)
        return f"{len(answers)} scored, {above} above 0"


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
    revision: str | None = None
    in_a_row: int = 0
    retry_at: float | None = None
    faults: Counter[str] = field(default_factory=Counter)
    overruns: list[Call] = field(default_factory=list)

    def counts(self) -> Counts:
        restarts = max(0, self.unit.starts - 1) if isinstance(self.unit, IsolatedUnit) else 0
        return Counts(self.calls, self.parts, dict(self.faults), self.refused, self.retry_at is not None, restarts)
