"""What went wrong with plugins elsewhere, each trap by its number and in one line; the proof is often a test that stands where the code's own tests do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moderation.decision import Abstention, Score
from moderation.detector.answers import check_answers
from moderation.detector.faults import WRONG
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import check_readings
from tests.unit import test_pipeline
from tests.unit.detector import test_imported, test_life, test_runner
from tests.unit.plugin import test_manager
from tests.unit.policy import test_decide
from tests.unit.reader import test_step
from tests.unit.rollout import test_locks

Install = Callable[..., Path]
CONCERN_PLUGINS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 24, 26, 28)


@pytest.fixture
def hung() -> Iterator[test_runner.Hung]:
    made = test_runner.Hung()
    yield made
    made.let_go.set()


def test_trap_01_two_entry_points_of_one_name_and_one_vanishes_without_a_word(install: Install) -> None:
    """pluggy keeps one of them and says nothing."""
    test_manager.test_trap_01_two_plugins_with_one_name_are_both_reported_and_neither_wins(install)


def test_trap_02_an_import_error_in_one_plugin_stops_them_all(install: Install) -> None:
    """pluggy's loader raises what the first broken module raised."""
    test_manager.test_trap_02_and_28_a_broken_plugin_is_reported_and_does_not_stop_the_others(
        install, *test_manager.BROKEN["an import error"]
    )


def test_trap_03_one_hook_that_raises_discards_what_the_others_returned(install: Install) -> None:
    """pluggy aborts the whole call."""
    test_manager.test_trap_03_one_raising_hook_does_not_discard_what_the_others_returned(install)


def test_trap_04_a_time_out_that_waits_for_the_work_all_the_same(hung: test_runner.Hung, install: Install) -> None:
    """LLM Guard's executor joins the thread that it gave up: 0.3 s became 3.0 s. Here it is so for detectors, for setting up, for readers and for loading."""
    test_runner.test_trap_04_a_hung_detector_is_left_behind_at_its_deadline(hung)
    slow = test_life.Slow()
    test_life.test_trap_04_who_takes_too_long_is_left_behind_and_not_called_again(slow)
    test_step.test_a_reader_that_hangs_is_left_behind()
    test_manager.test_trap_04_a_plugin_that_hangs_while_it_is_loaded_is_left_behind_by_name(install, "hook")


def test_trap_05_an_unknown_detector_is_warned_about_and_skipped(install: Install) -> None:
    """Guardrails AI goes on without the validator that was asked for; for us that holds for scores and for readers, too."""
    test_manager.test_trap_05_an_unknown_detector_is_refused_with_the_nearest_known_names(install)
    test_locks.test_trap_05_a_policy_that_needs_a_missing_detector_is_refused_by_name()
    for told in test_locks.BLENDS:
        test_locks.test_a_policy_whose_detectors_cannot_have_the_scores_that_they_need_is_refused_by_lint_too(told)


def test_trap_06_two_detectors_of_one_class_overwrite_each_other() -> None:
    """LLM Guard keeps results by the class's name."""
    test_runner.test_trap_06_results_are_kept_by_id_and_an_id_is_given_once()


@pytest.mark.parametrize("value", [-0.1, 1.1, 100.0, float("nan"), float("inf"), True, "0.5", None])
def test_trap_07_a_score_on_another_scale_than_was_documented(value: Any) -> None:
    """Coop's example answers 0 to 100 where 0 to 1 was promised."""
    wrong = test_runner.forged(value=value)
    assert check_answers([(Score("risk", 0.5),), (wrong,)], 2, frozenset({"risk"})) == ((Score("risk", 0.5),), WRONG)


def test_trap_08_a_missing_score_counts_as_harmless() -> None:
    """any-guardrail and Sentinel: no score is 0.0. Here a label left out is a bad answer, and no score an error of the policy."""
    assert check_answers([(), None], 2, frozenset({"risk"})) == (WRONG, WRONG)
    test_decide.test_trap_08_a_missing_score_is_an_error_and_never_safe()


@pytest.mark.parametrize("on_error", ["allow", "review", "remove"])
def test_trap_09_a_failure_gets_round_the_fail_mode_that_was_declared(on_error: str) -> None:
    """NeMo Guardrails: a time-out slipped past `fail_open`. Every failure of a detector, and of a reader, against every mode."""
    for answer, reason in (
        (test_pipeline.always(Abstention("language_unknown")), "language_unknown"),
        (lambda _: 1 / 0, "detector_error"),
        (lambda _: [], "bad_answer"),
    ):
        test_pipeline.test_trap_09_a_detector_that_fails_takes_the_policys_fail_mode(answer, reason, on_error)
    test_pipeline.test_trap_09_a_detector_that_hangs_takes_the_policys_fail_mode(on_error)
    for answer, reason in ((lambda _: 1 / 0, "reader_error"), (lambda _: [], "bad_answer")):
        test_pipeline.test_trap_09_a_part_that_a_reader_failed_on_is_no_way_out_of_moderation(answer, reason, on_error)


def test_trap_10_the_second_way_knows_nothing_of_the_deadline(hung: test_runner.Hung) -> None:
    """gumroad: the fallback had a time-out of its own. One deadline holds for all detectors, and for all waves of them."""
    test_runner.test_trap_10_one_deadline_holds_for_all(hung)
    test_runner.test_trap_10_waves_share_one_deadline_and_who_gets_no_time_is_not_blamed(hung)


def test_trap_16_few_examples_and_the_answer_is_a_constant() -> None:
    """Sentinel scores 0.0 below ten scores, an index of one hash matched nothing: batches of 0, 1 and 2 are judged as large ones are."""
    test_runner.test_trap_16_small_batches_are_judged_as_large_ones_are()
    for count in range(3):
        assert check_readings([()] * count, count, yields=frozenset(), limits=ReaderSettings()) == ((),) * count


def test_trap_24_weights_that_run_code_when_they_are_loaded(tmp_path: Path) -> None:
    """Detoxify, Curator and Q16 load pickles, one of them from an issue's attachment."""
    test_imported.test_a_pickle_is_refused_and_never_run(tmp_path)


def test_trap_26_plugins_are_found_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NeMo Guardrails runs whatever `actions.py` lies where it was started."""
    test_manager.test_trap_26_nothing_is_found_in_the_working_directory(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    "broken", ["a BaseException at import", "an error that cannot be printed", "a hook that exits"]
)
def test_trap_28_what_isolates_a_broken_plugin_raises_itself(install: Install, broken: str) -> None:
    """NeMo Guardrails: the line that was to log the broken file raised ValueError, and the start ended."""
    test_manager.test_trap_02_and_28_a_broken_plugin_is_reported_and_does_not_stop_the_others(
        install, *test_manager.BROKEN[broken]
    )
    test_runner.test_trap_28_an_error_that_cannot_be_printed_is_still_only_an_abstention()


def test_every_trap_that_concerns_plugins_has_its_test_and_says_what_happened() -> None:
    tests = {int(found[1]): one for name, one in globals().items() if (found := re.match(r"test_trap_(\d+)_", name))}
    assert sorted(tests) == list(CONCERN_PLUGINS)
    assert all(one.__doc__ and "\n" not in one.__doc__ for one in tests.values())
