"""What a sink may answer; everything else, and every fault, is to be tried again."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Again, Delivered, Delivery, Gone, Refused
from moderation.detector.faults import WRONG
from moderation.sections import RunnerSettings
from moderation.sink.runner import SinkRunner, check_receipts
from moderation.testing.sink import made

GOOD = [
    Delivered(),
    Refused("status_422"),
    Again("busy"),
    Again("busy", 3),
    Again("busy", 2.5, tried=False),
    Gone("status_410"),
]


def test_good_receipts_are_kept() -> None:
    assert check_receipts(GOOD, len(GOOD)) == tuple(GOOD)


@pytest.mark.parametrize("answers", [None, 7, "ab", b"ab", [], [Delivered()], {0: Delivered(), 1: Delivered()}, (Delivered() for _ in range(2))])  # fmt: skip
def test_a_wrong_length_or_type_spoils_all(answers: Any) -> None:
    assert check_receipts(answers, 2) == (WRONG, WRONG)


@pytest.mark.parametrize(
    "answer",
    [
        None, True, "delivered", Delivered, Refused("what the receiver said"), Refused(""), Refused(7), Refused("a" * 65), Gone("ü"),  # type: ignore[arg-type]
        Again("busy", -1), Again("busy", math.nan), Again("busy", math.inf), Again("busy", "7"), Again("busy", True), Again("busy", tried=1),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_receipt_is_a_bad_answer_of_its_delivery_alone(answer: Any) -> None:
    assert check_receipts([Delivered(), answer, Delivered()], 3) == (Delivered(), WRONG, Delivered())


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.sampled_from(GOOD), lambda inner: st.lists(inner) | st.tuples(inner)
    ),
    st.integers(0, 4),
)
def test_whatever_is_answered_there_is_one_receipt_or_fault_for_each(answer: Any, length: int) -> None:
    found = check_receipts(answer, length)
    assert len(found) == length
    assert all(one in GOOD or one is WRONG for one in found)


class Sink:
    id = "desk"

    def __init__(self, answer: Any) -> None:
        self.answer, self.seconds = answer, list[float]()

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Any:
        self.seconds.append(seconds)
        return self.answer(deliveries)


def runner(answer: Any, **more: Any) -> SinkRunner:
    return SinkRunner(Sink(answer), RunnerSettings(**{"timeout_seconds": 5.0, "faults_before_quarantine": 2, **more}))


def test_faults_are_tried_again_counted_and_quarantined() -> None:
    def raises(_: object) -> None:
        raise SystemExit

    one = runner(raises)
    assert one.deliver(made(2)) == (Again("sink_error"),) * 2
    assert one.deliver(made(2)) == (Again("sink_error"),) * 2
    assert one.deliver(made(1)) == (Again("quarantined", tried=False),)
    assert (one.count().calls, one.count().faults, one.count().quarantined) == (2, {"sink_error": 2}, True)
    assert runner(lambda _: "rubbish").deliver(made(1)) == (Again("bad_answer"),)


def test_a_sink_that_hangs_is_left_behind_at_its_deadline_and_known_to_hang_until_it_answers() -> None:
    release = threading.Event()
    one = runner(
        lambda given: release.wait(10) and [Delivered()] * len(given), timeout_seconds=0.05, quarantine_seconds=0.05
    )
    assert not one.hangs
    for _ in range(2):
        assert one.deliver(made(1)) == (Again("sink_timeout"),)
        assert one.hangs
    assert one.deliver(made(1)) == (Again("quarantined", tried=False),)
    assert one.hangs
    release.set()
    while not one.count().parts:
        one.deliver(made(1))
    assert not one.hangs
