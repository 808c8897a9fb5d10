"""Laws of calibration: a higher score always tells more, inside [0, 1], and the same after the way through a lock."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.policy.calibration import Calibration
from moderation.policy.lock import lock_path, read_lock, write_lock
from tests.fakes import lock

shares = st.floats(0.0, 1.0)
slopes = st.floats(0.0, 100.0)
curves = st.builds(
    Calibration,
    method=st.sampled_from(["temperature", "sigmoid", "beta"]),
    curve=st.tuples(slopes, slopes, st.floats(-200.0, 200.0)),
)
sizes = st.integers(1, 12)


@st.composite
def knotted(draw: st.DrawFn) -> Calibration:
    scores = draw(st.lists(shares, min_size=1, max_size=12, unique=True))
    chances = draw(st.lists(shares, min_size=len(scores), max_size=len(scores)))
    return Calibration("isotonic", knots=tuple(zip(sorted(scores), sorted(chances), strict=True)))


calibrations = st.one_of(curves, knotted())
steps = st.integers(0, 1_000_000)


@settings(max_examples=400)
@given(calibrations, steps, steps)
def test_a_higher_score_always_tells_more_and_an_equal_one_the_same(found: Calibration, one: int, other: int) -> None:
    low, high = (found.probability(step / 1e6) for step in sorted((one, other)))
    assert 0.0 <= low <= 1.0
    assert low < high if one != other else low == high


@given(calibrations, steps)
def test_the_next_score_of_all_tells_more_too(found: Calibration, step: int) -> None:
    before, after = max(step - 1, 0) / 1e6, max(step, 1) / 1e6
    assert found.probability(before) < found.probability(after)


@settings(max_examples=25)
@given(calibrations, st.lists(steps, min_size=1, max_size=5))
def test_a_lock_gives_the_same_values_back(found: Calibration, at: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = lock_path(Path(folder), "weapons")
        write_lock(lock(calibration=found), path)
        read = read_lock(path).calibration
    assert read == found
    assert read is not None
    assert [read.probability(step / 1e6) for step in at] == [found.probability(step / 1e6) for step in at]
