"""A calibration's value: what it may hold, its curve and its lines, and what a damaged lock is told."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import LockError
from moderation.policy.calibration import Calibration
from moderation.policy.lock import lock_path, read_lock, write_lock
from tests.fakes import lock


def test_a_sigmoid_is_linear_in_the_log_odds_of_the_score() -> None:
    found = Calibration("sigmoid", (2.0, 2.0, -1.0))
    odds = 2.0 * math.log(0.7 / 0.3) - 1.0
    assert found.probability(0.7) == pytest.approx(1.0 / (1.0 + math.exp(-odds)), abs=3e-6)


def test_knots_are_joined_by_lines_and_flat_beyond_the_ends_but_for_a_tiny_slope() -> None:
    found = Calibration("isotonic", knots=((0.2, 0.1), (0.6, 0.5)))
    assert [found.probability(score) for score in (0.1, 0.2, 0.4, 0.6, 0.9)] == pytest.approx(
        [0.1, 0.1, 0.3, 0.5, 0.5], abs=2e-6
    )


WRONG: list[dict[str, Any]] = [
    {"method": "sigmoid"},
    {"method": "isotonic"},
    {"method": "isotonic", "curve": (1.0, 1.0, 0.0)},
    {"method": "sigmoid", "knots": ((0.0, 0.0),)},
    {"method": "beta", "curve": (-1.0, 1.0, 0.0)},
    {"method": "beta", "curve": (1.0, 1.0, math.nan)},
    {"method": "isotonic", "knots": ((0.5, 0.1), (0.2, 0.2))},
    {"method": "isotonic", "knots": ((0.2, 0.3), (0.5, 0.2))},
    {"method": "isotonic", "knots": ((0.2, 0.3), (0.5, 1.2))},
]


@pytest.mark.parametrize("values", WRONG)
def test_what_could_fall_is_no_calibration(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Calibration(**values)


def test_a_lock_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(calibration=Calibration("beta", (1.0, 2.0, 0.0))), path)
    body = json.loads(path.read_text())
    body["calibration"]["curve"][0] = -1.0
    path.write_text(json.dumps(body))
    with pytest.raises(LockError, match="a, b >= 0"):
        read_lock(path)
