"""Whole families of declared harms on made audits: equal groups rarely fail, planted gaps are found about as often as stated."""

from __future__ import annotations

import runpy
from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from tests.conftest import ROOT

MADE: dict[str, Any] = runpy.run_path(str(ROOT / "benchmarks" / "false_alarms.py"), run_name="false_alarms")
NULL, PLANTED = MADE["NULL"], MADE["PLANTED"]
STATED = 0.8


def named(one: Any) -> str:
    return str(one.name)


def most(runs: int, share: float) -> int:
    """The count of `runs` that a true share exceeds in one of a thousand sets of runs."""
    return int(binom.ppf(0.999, runs, share))


@cache
def found_of(design: Any, runs: int) -> dict[str, Any]:
    return dict(MADE["false_alarms"](design, runs))


def alarms(design: Any, runs: int) -> int:
    return round(runs * found_of(design, runs)["ours"]["share"])


@pytest.mark.parametrize("design", NULL, ids=named)
def test_equal_groups_fail_in_no_more_than_one_audit_of_twenty(design: Any) -> None:
    assert alarms(design, 60) <= most(60, 0.05)


@pytest.mark.soak
@pytest.mark.parametrize("design", NULL, ids=named)
def test_equal_groups_fail_in_no_more_than_one_audit_of_twenty_over_many(design: Any) -> None:
    assert alarms(design, 1_000) <= most(1_000, 0.05)


def test_items_taken_as_independent_and_four_fifths_raise_the_alarm_where_nothing_is() -> None:
    found = found_of(NULL[3], 60)
    assert found["items"]["low"] > 0.2
    assert found["four_fifths"]["low"] > 0.2


@pytest.mark.parametrize("design", [PLANTED[0], PLANTED[2]], ids=named)
def test_a_planted_gap_is_found(design: Any) -> None:
    found = MADE["power"](design, 60)
    assert round(60 * found["found"]["share"]) >= int(binom.ppf(0.001, 60, STATED))
    assert found["half"]["high"] < 0.5  # half of it is found far less often


@pytest.mark.soak
@pytest.mark.parametrize("design", PLANTED, ids=named)
def test_a_planted_gap_is_found_about_as_often_as_stated(design: Any) -> None:
    found = MADE["power"](design, 1_000)["found"]["share"]
    assert round(1_000 * found) >= int(binom.ppf(0.001, 1_000, STATED))


def test_the_gap_planted_is_the_gap_there_is() -> None:
    design = PLANTED[3]
    samples = [MADE["draw"](design, seed, gap=0.06) for seed in range(60)]
    codes = np.concatenate([one.groups["attribute0"].codes for one in samples])
    acted = np.concatenate([one.force for one in samples])
    assert acted[codes == 0].mean() - acted[codes == 1].mean() == pytest.approx(0.06, abs=0.01)
    assert acted[codes == 1].mean() == pytest.approx(design.rate, abs=0.01)
