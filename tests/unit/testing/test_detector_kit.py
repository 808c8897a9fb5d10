"""The kit passes a detector that keeps its promises, and names the promise that another breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.testing import DetectorKit
from moderation.testing.imports import fault_of_import
from tests.unit.testing.outcomes import Outcomes, failed, outcomes_of

# By test class of broken.py, what fails there and nothing else; those that are not named pass whole.
BREAKS = {
    "TestNameless": {"identity_is_what_a_detector_must_have"},
    "TestRenamed": {"identity_stays"},
    "TestNotInstalled": {"identity_arrives_by_its_entry_point"},
    "TestBlind": {"shape_of_what_it_finds"},
    "TestAlarmist": {"shape_of_what_it_lets_pass"},
    "TestMoody": {
        "determinism_of_equal_batches", "determinism_of_equal_units", "batching_changes_no_answer",
        "failure_of_hostile_content", "failure_of_one_thread_reaches_no_other", "process_border_keeps_batch_and_answers", "life_cycle_of_one_leaves_the_others_alone",
    },
    "TestScribbler": {"determinism_leaves_the_batch_alone"},
    "TestRelative": {"batching_changes_no_answer"},
    "TestSteeperThanStated": {"shape_of_scores_is_no_steeper_than_stated"},
    "TestSlow": {"cost_of_many_parts_is_within_the_deadline"},
    "TestWordy": {"process_border_keeps_batch_and_answers"},
    "TestSwayed": {"process_of_its_own_answers_alike"},
    "TestSaysSoForNothing": {"process_border_keeps_batch_and_answers"},
    "TestClosedOnce": {"life_cycle_ends_more_than_once"},
    "TestShared": {"life_cycle_of_one_leaves_the_others_alone", "shape_of_what_it_finds"},  # the kit closes behind each test
    "TestShy": {"shape_of_what_it_finds", "shape_of_what_it_lets_pass"},
}  # fmt: skip
# These say what is no answer, raise, are never set up or not fed: whatever shows them such a part fails, the named tests among others.
NO_ANSWER = {
    "TestEager": {"shape_of_no_parts"},
    "TestPercent": {"shape_of_every_answer", "shape_of_what_it_finds"},
    "TestForgetful": {"shape_of_every_answer", "shape_of_what_it_lets_pass"},
    "TestUnverified": {"life_cycle_of_two_in_one_process"},
    "TestBlendOfWhatIsNotThere": {"shape_of_no_parts", "shape_of_what_it_finds"},
    "TestOnceOnly": {"life_cycle_of_two_in_one_process"},
    "TestRaises": {"shape_of_every_answer", "failure_of_hostile_content"},
}
WHOLE = {
    "TestGood",
    "TestBlend",
    "TestLived",
    "TestGoodWithVectors",
    "TestSteep",
    "TestWordyAndSaysSo",
    "TestSteady",
    "TestCounted",
}
LEFT = "TestWhatIsLeftOpen"  # after them all


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """By class and test, what pytest says of broken.py."""
    return outcomes_of("broken.py")


def test_every_test_of_the_kit_is_seen_to_fail(outcomes: Outcomes) -> None:
    assert outcomes.keys() == BREAKS.keys() | NO_ANSWER.keys() | WHOLE | {LEFT}
    tests = {name.removeprefix("test_") for name in dir(DetectorKit) if name.startswith("test_")}
    # An import is made to fail below.
    assert tests - set().union(*map(failed, outcomes.values())) == {"import_asks_no_network"}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_detector_that_keeps_its_promises_passes(name: str, outcomes: Outcomes) -> None:
    assert failed(outcomes[name]) == set()
    assert len(outcomes[name]) >= 13


def test_what_the_kit_sets_up_it_closes(outcomes: Outcomes) -> None:
    assert outcomes[LEFT] == {"nothing_is": "PASSED"}


@pytest.mark.parametrize("name", BREAKS)
def test_the_promise_that_is_broken_is_named(name: str, outcomes: Outcomes) -> None:
    assert failed(outcomes[name]) == BREAKS[name]


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_is_no_answer_is_refused(name: str, outcomes: Outcomes) -> None:
    assert failed(outcomes[name]) >= NO_ANSWER[name]


def test_an_expected_failure_names_a_test_and_a_reason() -> None:
    for given in ({"test_process": "no such test"}, {"test_process_of_its_own_answers_alike": ""}):
        with pytest.raises(TypeError, match="expected a test of the kit"):
            type("TestMine", (DetectorKit,), {"expected_failures": given})


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import urllib.request", ""),
        ("import socket\nsocket.getaddrinfo('example.com', 80)", "socket.getaddrinfo"),
        ("import socket\ntry:\n    socket.create_connection(('127.0.0.1', 9))\nexcept OSError:\n    pass", "socket."),
        ("raise RuntimeError('no model')", "RuntimeError: no model"),
        ("import sys\nsys.exit(4)", "it ended with 4"),
    ],
)
def test_an_import_that_asks_the_network_or_fails_is_told(
    source: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = fault_of_import("mine")
    assert fault in found
    assert bool(found) == bool(fault)
