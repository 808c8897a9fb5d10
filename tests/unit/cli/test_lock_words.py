"""A lock in plain words: what is promised and what is missing, and a warning where the phrases mean nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moderation.cli import lock_words
from moderation.policy.lock import LockedAction
from tests.fakes import action, lock

CERTIFICATE = {
    "metric": "precision", "precision_low": 0.9512, "tpr_lower": 0.61, "share_upper": 0.0312, "flagged_violating": 55,
    "violating": 60, "flagged_benign": 1, "benign": 2100,
}  # fmt: skip


def promise(**changes: Any) -> str:
    return lock_words.promise(LockedAction("remove", "precision", 0.95, 0.9, **changes))


def test_a_kept_promise_says_its_threshold_and_its_evidence_and_calls_estimates_so() -> None:
    assert promise(threshold=0.5, certificate=CERTIFICATE) == (
        "remove: precision at least 0.95, confidence 0.9: certified at threshold 0.500000 (flagged 55 of 60 violating and "
        "1 of 2100 benign objects; estimates, not promises: precision at least 0.951 at the low end of the prevalence, "
        "recall at least 0.610, 3.12% of traffic as an upper bound)"
    )


def test_a_promise_of_recall_says_nothing_of_precision() -> None:
    told = promise(threshold=0.5, certificate=CERTIFICATE | {"metric": "recall"})
    assert "recall at least 0.610, 3.12% of traffic as an upper bound" in told
    assert "low end" not in told


def test_a_budget_is_part_of_what_is_promised() -> None:
    told = promise(threshold=0.5, certificate=CERTIFICATE | {"budget": 0.29})
    assert "certified at threshold 0.500000, within 29% of traffic (flagged" in told


@pytest.mark.parametrize(
    ("shortfall", "told"),
    [
        ({"more_violating": 40, "more_benign": 0, "reason": "r"}, "40 more violating targets needed (r)"),
        ({"more_violating": 40, "more_benign": 9}, "40 more violating targets and 9 more benign targets needed"),
        ({"more_violating": None, "more_benign": None, "reason": "no number will do"}, "no number will do"),
    ],
)
def test_what_is_missing_is_said_in_targets_where_targets_would_help(shortfall: dict[str, Any], told: str) -> None:
    assert promise(shortfall=shortfall) == f"remove: precision at least 0.95, confidence 0.9: cannot certify: {told}"


def test_an_untried_promise_says_so() -> None:
    assert promise().endswith(": not certified yet")


def test_phrases_no_better_than_a_control_are_a_warning() -> None:
    controls = {
        "measured_on": "fit targets",
        "average_precision": {"name_only": 0.5, "policy": 0.4, "random_words": None},
        "beaten": {"name_only": False},
        "missing": {"random_words": "'weapon, dusty lamp' cannot be encoded"},
    }
    lines = list(lock_words.compiled({"level": {"reason": "why"}, "controls": controls}))
    assert lines == [
        "level: why",
        "average precision on fit targets: policy 0.400, name only 0.500, random words not measured",
        "random words not measured: 'weapon, dusty lamp' cannot be encoded",
        "WARNING: the phrases do no better than name only: they may not mean what was meant",
    ]


def test_targets_too_easy_to_tell_apart_are_no_warning() -> None:
    controls = {"average_precision": {"policy": 1.0, "name_only": 1.0}, "beaten": {"name_only": False}}
    assert not any("WARNING" in line for line in lock_words.compiled({"controls": controls}))


def test_bars_show_the_largest_full_and_nothing_as_nothing() -> None:
    assert lock_words.bars([0, 1, 500, 1000]) == " ▁▄█"
    assert lock_words.bars([]) == ""
    assert lock_words.bars([0, 0]) == "  "


def test_what_nothing_was_made_from_has_no_line() -> None:
    assert list(lock_words.compiled({"fit": {"rows": 0, "inputs": {}}, "background": {"rows": 3}})) == [
        "background: 3 rows"
    ]


def test_what_brings_a_threshold_is_a_command_until_it_was_tried() -> None:
    never = action("remove", None)
    tried = replace(never, shortfall={"reason": "too few"})
    told = [lock_words.to_certify(lock(actions=(one,)), Path("my bags.yaml")) for one in (never, tried)]
    assert told[0] == "run: moderation policy certify 'my bags.yaml'"
    assert told[1] == "it takes more targets: moderation policy plan 'my bags.yaml' tells how many"
    # A plan is of a policy, and knows no build folder.
    told = [lock_words.to_certify(lock(actions=(one,)), Path("bags.yaml"), Path("made")) for one in (never, tried)]
    assert ["--out made" in one for one in told] == [True, False]


def test_one_is_told_as_one() -> None:
    assert "cannot certify: 1 more violating target needed" in promise(shortfall={"more_violating": 1})
    evidence = {"targets": {"violating": 1, "benign": 2}, "clusters": {"violating": 1, "benign": 2}, "merged": ["a"]}
    told = list(lock_words.certified({"certify": evidence}))
    assert told[:2] == ["certified on 1 violating target of 1 object", "certified on 2 benign targets of 2 objects"]
    assert told[2] == "WARNING: 1 cluster holds a near-duplicate of another one and was counted as one with it (D008)"


def test_counts_are_told_in_the_same_order_of_a_file_as_of_a_build() -> None:
    fit = {"violating": 1, "benign": 2, "rows": 3, "left_out": 4}
    for part in (fit, dict(sorted(fit.items()))):
        assert list(lock_words.compiled({"fit": part})) == ["fit: 3 rows, 4 left out, 1 violating, 2 benign"]
