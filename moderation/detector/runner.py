"""Runs detectors: each alone, against a deadline, its answer checked, its faults counted and in the end quarantined.

One rule for all: a fault of a detector becomes an abstention of that detector, never a score and never an exception. A
deadline costs a thread, so it is for detectors that came from outside; trusted ones (ours, bounded arithmetic) run on
the calling thread while the others work, and are checked and counted in the same way. Of those from outside, one that has
a process of its own is ended at its deadline; any other can only be left behind.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch, Detector
from moderation.detector.faults import BAD_ANSWER, ERROR, QUARANTINED, TIMEOUT, WRONG, FaultError, kind_of
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.names import is_name, is_word
from moderation.item import Modality
from moderation.settings import DetectorSettings

# An overrun call cannot be stopped, only left behind. So many of one detector may be left at once before it gets no more.
MOST_OVERRUNS = 4
NO_TIME_LEFT = "no_time_left"  # others, whose scores it needs, took it all
LONGEST_CONCEPT = 200
MOST_EVIDENCE = 1000


@dataclass(frozen=True, slots=True)
class DetectorCounts:
    """What one detector did so far: calls, parts judged, faulty calls by reason, parts it was not shown while in quarantine or for want of time.

    `restarts` counts how often its process had to be replaced, since it was first started; 0 of one without.
    """

    calls: int
    parts: int
    faults: Mapping[str, int]
    refused: int
    quarantined: bool
    restarts: int = 0


class Runner:
    """Runs detectors on batches, one after the other, whatever thread they come from.

    `trusted` names the detectors that run on the calling thread, without a deadline. A detector's `detect` may be called
    while an earlier call of it that overran is still at work. What is known of detectors that `earlier` has too (the very same objects:
    a plugin's, whatever builds use them) is kept: their rest in quarantine, and their calls that overran. Raises ValueError when two
    detectors share an id.
    """

    def __init__(
        self,
        detectors: Iterable[Detector],
        *,
        trusted: Collection[str] = (),
        settings: DetectorSettings | None = None,
        earlier: Runner | None = None,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[_Call, float], bool] | None = None,
    ) -> None:
        self._settings = settings or DetectorSettings()
        self._clock = clock
        self._wait = wait or _Call.wait
        self._running: threading.Lock = earlier._running if earlier else threading.Lock()  # noqa: SLF001 - both may run for a while
        known = {id(one.detector): one for one in earlier._guards.values()} if earlier else {}  # noqa: SLF001
        self._guards: dict[str, _Guard] = {}
        for detector in detectors:
            guard = known.get(id(detector)) or _Guard(
                detector, detector.id, frozenset(detector.labels), trusted=detector.id in trusted
            )
            if guard.id in self._guards:
                raise ValueError(f"two detectors have the id {guard.id!r}; expected every id once")
            self._guards[guard.id] = guard

    @property
    def detectors(self) -> Mapping[str, Detector]:
        """Every detector by its id."""
        return {id_: guard.detector for id_, guard in self._guards.items()}

    def modalities(self, detector: str) -> frozenset[Modality]:
        """The modalities that a detector judges."""
        return self._guards[detector].detector.modalities

    def run(self, batches: Mapping[str, DetectionBatch]) -> dict[str, tuple[Detection, ...]]:
        """Answers by detector id, one for each part of its batch, in order.

        All share one deadline, counted from when it is their turn; a detector with an empty batch is not called.
        """
        with self.turn() as run:
            return run(batches)

    @contextmanager
    def turn(self) -> Iterator[Callable[[Mapping[str, DetectionBatch]], dict[str, tuple[Detection, ...]]]]:
        """What runs detectors, wave after wave, against one deadline, counted from when it is their turn.

        Whose wave comes when no time is left is not called, and not blamed.
        """
        with self._running:
            yield partial(self._run, self._clock() + self._settings.timeout_seconds)

    def _run(self, deadline: float, batches: Mapping[str, DetectionBatch]) -> dict[str, tuple[Detection, ...]]:
        calls = {
            id_: self._start(self._guards[id_], batch, deadline)
            for id_, batch in self._outsiders_first(batches)
            if len(batch)
        }
        done = {id_: self._finish(self._guards[id_], call, deadline) for id_, call in calls.items()}
        return {id_: done.get(id_, ()) for id_ in batches}

    def counts(self) -> dict[str, DetectorCounts]:
        """What every detector did so far."""
        return {id_: guard.counts() for id_, guard in self._guards.items()}

    def _outsiders_first(self, batches: Mapping[str, DetectionBatch]) -> list[tuple[str, DetectionBatch]]:
        return sorted(batches.items(), key=lambda pair: self._guards[pair[0]].trusted)

    def _start(self, guard: _Guard, batch: DetectionBatch, deadline: float) -> _Call:
        call = _Call(guard.detector, guard.labels, batch, max(0.0, deadline - self._clock()))
        guard.overruns = [one for one in guard.overruns if not one.finished]
        if guard.retry_at is not None and self._clock() < guard.retry_at:
            call.settle(_Result(QUARANTINED))
        elif len(guard.overruns) >= MOST_OVERRUNS:
            call.settle(_Result(TIMEOUT))
        elif guard.trusted:
            call.run_here()
        elif not call.seconds:
            call.settle(_Result(TIMEOUT, cause=NO_TIME_LEFT))
        else:
            call.run_on_a_thread()
        return call

    def _finish(self, guard: _Guard, call: _Call, deadline: float) -> tuple[Detection, ...]:
        in_time = self._wait(call, max(0.0, deadline - self._clock()))
        # Read once: an overrun call may still answer later, and what it leaves then is nobody's.
        result = call.result if in_time else None
        if result is None:
            result = _Result(TIMEOUT)
            guard.overruns.append(call)
        parts = len(call.batch)
        if result.fault == QUARANTINED or result.cause == NO_TIME_LEFT:
            guard.refused += parts
        else:
            self._record(guard, result.fault)
        if result.answers is None:
            return (Abstention(result.fault or ERROR, cause=result.cause),) * parts
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


@dataclass(slots=True)
class _Guard:
    """One detector and its record. Its id and labels are read once, so that they cannot change under way."""

    detector: Detector
    id: str
    labels: frozenset[str]
    trusted: bool
    calls: int = 0
    parts: int = 0
    refused: int = 0
    in_a_row: int = 0
    retry_at: float | None = None
    faults: Counter[str] = field(default_factory=Counter)
    overruns: list[_Call] = field(default_factory=list)

    def counts(self) -> DetectorCounts:
        restarts = max(0, self.detector.starts - 1) if isinstance(self.detector, IsolatedDetector) else 0
        return DetectorCounts(
            self.calls, self.parts, dict(self.faults), self.refused, self.retry_at is not None, restarts
        )


@dataclass(frozen=True, slots=True)
class _Result:
    """How a call ended: with checked answers, with a fault, or (for `bad_answer`) with both."""

    fault: str | None = None
    answers: tuple[Detection, ...] | None = None
    cause: str = ""


class _Call:
    """One call of one detector, which has so many seconds, and where its result arrives."""

    def __init__(self, detector: Detector, labels: frozenset[str], batch: DetectionBatch, seconds: float) -> None:
        self.detector, self.labels, self.batch, self.seconds = detector, labels, batch, seconds
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
            result = _failure(error)
        self.settle(result)

    def run_on_a_thread(self) -> None:
        try:
            threading.Thread(target=self._run_guarded, daemon=True, name="detector").start()
        except RuntimeError as error:  # no thread to be had
            self.settle(_failure(error))

    def _run_guarded(self) -> None:
        try:
            result = self._work()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C never arrives on this thread: even SystemExit is its own
            result = _failure(error)
        self.settle(result)

    def _work(self) -> _Result:
        # Checked here, inside the guard: a hostile answer may hang or raise when it is looked at.
        answers = check_answers(self._detect(), len(self.batch), self.labels)
        return _Result(BAD_ANSWER if any(one is WRONG for one in answers) else None, answers)

    def _detect(self) -> object:
        if isinstance(self.detector, IsolatedDetector):
            return self.detector.detect(self.batch, seconds=self.seconds)
        return self.detector.detect(self.batch)


def _failure(error: BaseException) -> _Result:
    if isinstance(error, FaultError):
        return _Result(error.reason, cause=error.cause)
    return _Result(ERROR, cause=kind_of(error))


def check_answers(answers: object, length: int, labels: frozenset[str]) -> tuple[Detection, ...]:
    """A detector's answer, with an abstention `bad_answer` wherever it is not what a detector may say.

    A wrong length spoils the whole batch, for then nobody knows which answer belongs to which part. A part's scores must
    cover exactly the labels that the detector declared: a label left out is not a score of 0.
    """
    if not isinstance(answers, Sequence) or isinstance(answers, str | bytes) or len(answers) != length:
        return (WRONG,) * length
    return tuple(_check(one, labels) for one in answers)


def _check(answer: object, labels: frozenset[str]) -> Detection:
    if isinstance(answer, Abstention):
        # Both are kept in decisions: stable words, never a piece of content.
        told = isinstance(answer.reason, str) and is_word(answer.reason) and isinstance(answer.cause, str)
        return answer if told and (not answer.cause or is_name(answer.cause)) else WRONG
    if not isinstance(answer, tuple) or not all(_is_score(one) for one in answer):
        return WRONG
    if {score.label for score in answer} != labels:
        return WRONG
    return tuple(s if type(s.value) is float else replace(s, value=float(s.value)) for s in answer)


def _is_score(score: object) -> bool:
    if not isinstance(score, Score) or not isinstance(score.label, str) or not isinstance(score.value, Real):
        return False
    named = score.concept is None or (isinstance(score.concept, str) and len(score.concept) <= LONGEST_CONCEPT)
    told = score.evidence is None or _is_evidence(score.evidence)
    return (
        named
        and told
        and not isinstance(score.value, bool)
        and math.isfinite(score.value)
        and 0.0 <= score.value <= 1.0
    )


def _is_evidence(evidence: object) -> bool:
    # A plain dict and plain numbers: what is kept in a decision must not change or raise when it is written.
    return (
        type(evidence) is dict
        and len(evidence) <= MOST_EVIDENCE
        and all(type(name) is str and len(name) <= LONGEST_CONCEPT for name in evidence)
        and all(type(one) is float and math.isfinite(one) for one in evidence.values())
    )
