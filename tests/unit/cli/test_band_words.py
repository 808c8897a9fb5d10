"""Bands, trade-off curves and calibrations as people read them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from moderation.cli import band_words
from moderation.policy.bands import Band, bands
from moderation.policy.calibration import Calibration
from moderation.policy.lock import LockedAction
from tests.fakes import ACTIONS, lock

PREVALENCE: Any = SimpleNamespace(low=0.1, high=0.2)


def promised(name: str, threshold: float, tpr: float, fpr: float) -> LockedAction:
    return LockedAction(name, "recall", 0.9, 0.9, threshold, {"tpr": tpr, "fpr": fpr})


def test_bands_are_told_strongest_first_and_an_empty_one_is_a_warning() -> None:
    fine = (Band("remove", 0.9), Band("review", 0.4, 0.9, "remove"))
    assert list(band_words.bands(fine)) == [
        "bands: remove from 0.900000, review from 0.400000 to below 0.900000; nothing below"
    ]
    empty = (Band("remove", 0.4), Band("review", 0.6, 0.4, "remove"))
    assert list(band_words.bands(empty)) == [
        "bands: remove from 0.400000; nothing below",
        "WARNING: the band of review is empty: its threshold 0.600000 is not below 0.400000, where remove takes over",
    ]
    assert list(band_words.bands(())) == []
    assert [one["empty"] for one in band_words.as_plain(empty)] == [False, True]


def test_what_a_stronger_action_takes_is_not_expected_in_the_band() -> None:
    actions = [promised("remove", 0.9, 0.5, 0.0), promised("review", 0.4, 0.9, 0.1)]
    assert list(band_words.shares(bands(actions, ACTIONS), actions, PREVALENCE)) == [
        "remove is expected to get 5.00% to 10.00% of traffic",
        "review is expected to get 13.00% to 16.00% of traffic",
    ]


def test_a_trade_off_is_a_table_of_thresholds() -> None:
    point = {
        "threshold": 0.5, "recall_lower": 0.8, "share_upper": 0.125, "flagged_violating": 40, "flagged_benign": 90
    }  # fmt: skip
    short = LockedAction("review", "recall", 0.9, 0.9, shortfall={"reason": "r", "trade_off": [point]})
    _, head, row = band_words.trade_off(short)
    assert head.split("  ")[-1].strip() == "benign flagged"
    assert row.split() == ["0.500000", "0.800", "12.50%", "40", "90"]
    assert len(head) == len(row)
    assert list(band_words.trade_off(promised("review", 0.5, 1.0, 0.0))) == []


def test_a_calibration_tells_what_scores_mean_and_how_far_it_can_be_believed() -> None:
    measured = {
        "log_loss": 0.1, "log_loss_of_prevalence": 0.2, "expected_error": 0.01, "gap": 0.001, "gap_at_top": -0.05
    }  # fmt: skip
    evidence = {"calibration": {"prevalence": 0.05, "reason": "sigmoid, for 60 clusters", "reliability": measured}}
    first, second, third = band_words.calibration(
        lock(calibration=Calibration("sigmoid", (1.0, 1.0, 0.0)), evidence=evidence)
    )
    assert first == "calibrated at prevalence 0.05, for readers: sigmoid, for 60 clusters"
    assert "told minus found +0.0010, -0.0500 among the highest" in second
    assert "0.25 is 0.250" in third
    (none,) = band_words.calibration(lock(evidence={"calibration": {"reason": "too few"}}))
    assert none == "not calibrated: too few"
    assert list(band_words.calibration(lock())) == []
