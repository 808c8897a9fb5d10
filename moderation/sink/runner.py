"""The one sink of a process, called like every unit: against a deadline, isolated, its receipts checked, its faults counted and in the end quarantined."""

from __future__ import annotations

import math
from collections.abc import Sequence

from moderation.decision import Abstention, Again, Delivered, Delivery, Gone, Receipt, Refused, Sink
from moderation.detector.call import Check
from moderation.detector.faults import BAD_ANSWER, QUARANTINED, WRONG
from moderation.detector.names import is_name
from moderation.detector.runner import Counts, UnitRunner
from moderation.sections import RunnerSettings

ERROR, TIMEOUT = "sink_error", "sink_timeout"
FAULTS = (ERROR, TIMEOUT, BAD_ANSWER)


class SinkRunner(UnitRunner[tuple[Delivery, ...], Receipt]):
    """Runs a sink. Whatever goes wrong is to be tried again: no fault of a sink costs a decision.

    `hangs` is whether the last call that was made had no answer in time.
    """

    kind = "sink"

    def __init__(self, sink: Sink, settings: RunnerSettings) -> None:
        super().__init__([sink], settings=settings)
        self.id, self.hangs = sink.id, False

    def deliver(self, deliveries: Sequence[Delivery]) -> tuple[Receipt, ...]:
        """One receipt for each delivery, in order."""
        answers = self.run({self.id: tuple(deliveries)})[self.id]
        faults = {one.reason for one in answers if isinstance(one, Abstention)}
        if QUARANTINED not in faults:
            self.hangs = TIMEOUT in faults
        return tuple(_again(one) if isinstance(one, Abstention) else one for one in answers)

    def count(self) -> Counts:
        """What the sink did so far."""
        return self.counts()[self.id]

    def _call(self, unit: Sink, batch: tuple[Delivery, ...], seconds: float) -> object:
        return unit.deliver(batch, seconds)

    def _check(self, _: Sink) -> Check:
        return check_receipts


def check_receipts(answers: object, length: int) -> tuple[Receipt | Abstention, ...]:
    """A sink's answer, with an abstention `bad_answer` wherever it is no receipt; a wrong length spoils the whole batch."""
    if not isinstance(answers, Sequence) or isinstance(answers, str | bytes) or len(answers) != length:
        return (WRONG,) * length
    return tuple(one if _is_receipt(one) else WRONG for one in answers)


def _is_receipt(receipt: object) -> bool:
    """Reasons are kept in dead letters and logs: stable words, never a piece of what somebody answered."""
    if isinstance(receipt, Delivered):
        return True
    if (
        not isinstance(receipt, Refused | Again | Gone)
        or type(receipt.reason) is not str
        or not is_name(receipt.reason)
    ):
        return False
    if not isinstance(receipt, Again):
        return True
    return _is_wait(receipt.seconds) and type(receipt.tried) is type(receipt.busy) is bool


def _is_wait(seconds: object) -> bool:
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0.0 <= seconds < math.inf


def _again(fault: Abstention) -> Again:
    return Again(fault.reason, tried=fault.reason != QUARANTINED)
