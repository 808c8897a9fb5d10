"""How long parts take, learnt one modality at a time and together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.item import Modality
from moderation.server.pace import Pace, PartsPace

TRUE = {Modality.IMAGE: 0.05, Modality.VIDEO: 5.0}
ONE = {Modality.VIDEO: 1}


def test_of_one_modality_it_is_the_plain_mean() -> None:
    pace, parts = Pace(1), PartsPace()
    for ones, seconds in ((1, 2.0), (4, 3.0), (2, 0.5)):
        pace.took(ones, seconds)
        parts.took({Modality.IMAGE: ones}, seconds)
    assert parts.seconds({Modality.IMAGE: 3}) == pytest.approx(pace.seconds(3))
    assert parts.seconds(ONE) == 0.0


def test_what_comes_together_with_others_is_told_apart_once_some_come_alone() -> None:
    parts = PartsPace()
    for _ in range(100):
        parts.took({Modality.IMAGE: 1, Modality.VIDEO: 1}, 5.05)
        parts.took({Modality.IMAGE: 4}, 0.2)
    for one, seconds in TRUE.items():
        assert parts.seconds({one: 1}) == pytest.approx(seconds, abs=0.01)


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(Modality), st.integers(1, 2048), min_size=1), st.floats(0.0, 100.0)),
        max_size=20,
    )
)
def test_nothing_takes_less_than_no_time_nor_more_than_all_did(jobs: list[tuple[dict[Modality, int], float]]) -> None:
    parts = PartsPace()
    for counts, seconds in jobs:
        parts.took(counts, seconds)
    assert all(0.0 <= parts.seconds({one: 1}) <= sum(seconds for _, seconds in jobs) + 1e-9 for one in Modality)
