from __future__ import annotations

import pytest

from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.policy.lock import LockedAction
from moderation.release.achieved import Known, achieved
from moderation.release.shares import share


def known(number: int, target: bool | None, *, counts: bool = True) -> Known:
    return Known(f"i{number}", f"c{number}", {} if target is None else {"weapons": target}, counts)


def decision(number: int, score: float | None) -> Decision:
    verdict = Verdict("weapons", "1.0.0", "r", "draft", Outcome.NO_MATCH, Severity.HIGH, score=score)
    return Decision(f"i{number}", "d", "allow", Severity.INFO, "allow", (verdict,), {})


def action(metric: str, threshold: float | None) -> LockedAction:
    return LockedAction("remove", metric, 0.8, 0.9, threshold)  # type: ignore[arg-type]


ROWS = [(known(1, True), 0.9), (known(2, True), 0.4), (known(3, False), 0.5), (known(4, False), 0.1)]


def test_precision_counts_what_was_flagged_and_recall_what_violates() -> None:
    known_, scores = zip(*ROWS, strict=True)
    made = [decision(n, score) for n, score in enumerate(scores, 1)]
    precision, recall = achieved("weapons", [action("precision", 0.5), action("recall", 0.5)], known_, made)
    assert (precision.share.hits, precision.share.trials) == (1, 2)
    assert (recall.share.hits, recall.share.trials) == (1, 2)


def test_a_score_at_the_threshold_is_flagged() -> None:
    (found,) = achieved("weapons", [action("recall", 0.4)], [ROWS[1][0]], [decision(2, 0.4)])
    assert found.share.hits == 1


def test_only_one_item_of_a_cluster_counts_in_the_interval() -> None:
    rows = [known(1, True), known(1, True, counts=False)]
    (found,) = achieved("weapons", [action("recall", 0.5)], rows, [decision(1, 0.9), decision(1, 0.1)])
    assert (found.share.hits, found.share.trials) == (1, 1)
    assert (found.items.hits, found.items.trials) == (1, 2)


def test_unknown_targets_and_missing_scores_are_left_out() -> None:
    rows, made = [known(1, None), known(2, True)], [decision(1, 0.9), decision(2, None)]
    (found,) = achieved("weapons", [action("precision", 0.5)], rows, made)
    assert found.share.trials == found.items.trials == 0
    assert found.share.value is None
    assert (found.share.low, found.share.high) == (0.0, 1.0)


def test_an_action_without_a_threshold_achieves_nothing() -> None:
    assert achieved("weapons", [action("precision", None)], [ROWS[0][0]], [decision(1, 0.9)]) == ()


def test_the_interval_is_clopper_and_pearsons() -> None:
    found = share(18, 20)
    assert found.low == pytest.approx(0.6830, abs=1e-4)
    assert found.high == pytest.approx(0.9877, abs=1e-4)


def test_a_promise_above_the_interval_does_not_agree() -> None:
    rows = [known(n, True) for n in range(40)]
    (found,) = achieved(
        "weapons", [action("recall", 0.5)], rows, [decision(n, 0.9 if n < 10 else 0.1) for n in range(40)]
    )
    assert not found.agrees
