"""The kit passes a reader that keeps its promises, and names the promise that another breaks."""

from __future__ import annotations

import pytest

from moderation.testing import ReaderKit
from tests.unit.testing.outcomes import Outcomes, failed, outcomes_of

# By test class of broken_readers.py, what fails there and nothing else.
BREAKS: dict[str, set[str]] = {
    "TestGood": set(),
    "TestSteady": set(),
    "TestSwayed": {"process_of_its_own_answers_alike"},
    "TestRenamed": {"identity_stays"},
    "TestUnrevised": {"identity_has_a_revision"},
    "TestLearning": {"identity_has_a_revision"},
    "TestNotInstalled": {"identity_arrives_by_its_entry_point"},
    "TestBlind": {"shape_of_what_it_finds"},
    "TestInventor": {"shape_of_what_holds_nothing"},
    "TestEager": {"shape_of_no_parts"},
    "TestRaises": {"failure_of_hostile_content", "shape_of_every_answer"},
    "TestCounting": {"batching_changes_no_answer", "failure_of_hostile_content"},
    "TestMoody": {
        "determinism_of_equal_batches", "determinism_of_equal_units", "batching_changes_no_answer", "failure_of_hostile_content",
        "failure_of_one_thread_reaches_no_other", "life_cycle_of_one_leaves_the_others_alone",
    },
    "TestSlow": {"cost_of_many_parts_is_within_the_deadline"},
    "TestClosedOnce": {"life_cycle_ends_more_than_once"},
    "TestShared": {"life_cycle_of_one_leaves_the_others_alone", "shape_of_what_it_finds"},  # the kit closes behind each test
}  # fmt: skip
# These yield what is none, or are never set up: whatever shows them a part fails.
NO_ANSWER = {
    "TestVideoMaker": {"identity_is_what_a_reader_must_have"},
    "TestPainter": {"shape_of_every_answer", "batching_of_many_parts"},
    "TestUnverified": {"life_cycle_of_two_in_one_process"},
}


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    """By class and test, what pytest says of broken_readers.py."""
    return outcomes_of("broken_readers.py")


def test_every_test_of_the_kit_is_seen_to_fail(outcomes: Outcomes) -> None:
    assert outcomes.keys() == BREAKS.keys() | NO_ANSWER.keys()
    tests = {name.removeprefix("test_") for name in dir(ReaderKit) if name.startswith("test_")}
    assert tests - set().union(*map(failed, outcomes.values())) == {
        "import_asks_no_network"
    }  # see test_detector_kit.py


@pytest.mark.parametrize("name", BREAKS)
def test_the_promise_that_is_broken_is_named_and_no_other(name: str, outcomes: Outcomes) -> None:
    assert failed(outcomes[name]) == BREAKS[name]
    assert len(outcomes[name]) >= 13


@pytest.mark.parametrize("name", NO_ANSWER)
def test_what_is_no_answer_is_refused(name: str, outcomes: Outcomes) -> None:
    assert failed(outcomes[name]) >= NO_ANSWER[name]
