"""Search is exact: the same rows in the same order as looking at each in double precision, however they come in, and however many are alike."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.history.search import Nearest, Ranking
from tests.unit.history.kept import unit

WIDTH = 48


def plainly(query: Any, vectors: Any, top: int) -> list[tuple[int, float]]:
    """One row after another, all of them sorted."""
    found = [
        (round(float(vector.astype(np.float64) @ query.astype(np.float64)), 6), row)
        for row, vector in enumerate(vectors)
    ]
    return [(row, similarity) for similarity, row in sorted(found, key=lambda one: (-one[0], one[1]))[:top]]


def pairs(ranking: Ranking) -> list[tuple[int, float]]:
    return list(zip(ranking.rows.tolist(), ranking.similarities.tolist(), strict=True))


def crowd(count: int, distinct: int, seed: int) -> Any:
    """Rows of which many are equal, and many as good as equal: one number moved by its last bit."""
    rng = np.random.default_rng(seed)
    rows = unit(distinct, WIDTH, seed)[rng.integers(0, distinct, count)]
    moved = rng.random(count) < 0.5
    rows[moved, 3] = np.nextafter(rows[moved, 3], np.float16(1))
    return rows


@given(
    count=st.integers(0, 300),
    distinct=st.integers(1, 40),
    top=st.integers(1, 50),
    queries=st.integers(1, 4),
    cuts=st.lists(st.integers(0, 300), max_size=4),
    seed=st.integers(0, 2**20),
)
def test_it_finds_what_looking_at_every_row_finds(
    *, count: int, distinct: int, top: int, queries: int, cuts: list[int], seed: int
) -> None:
    vectors, asked = crowd(count, distinct, seed), unit(queries, WIDTH, seed + 1)
    nearest = Nearest(asked, top=top)
    edges = [0, *sorted(min(cut, count) for cut in cuts), count]
    for first, last in itertools.pairwise(edges):
        nearest.add(vectors[first:last])
    assert nearest.seen == count
    for query, ranking in zip(asked, nearest.rankings, strict=True):
        assert pairs(ranking) == plainly(query, vectors, top)


def test_a_query_finds_the_same_whatever_others_are_asked_with_it_and_however_rows_come() -> None:
    vectors, asked = crowd(20_000, 700, 5), unit(9, WIDTH, 6)
    together = Nearest(asked, top=40)
    together.add(vectors)
    for place, query in enumerate(asked):
        alone = Nearest(query[None], top=40)
        for first in range(0, len(vectors), 4_321):
            alone.add(vectors[first : first + 4_321])
        assert pairs(alone.rankings[0]) == pairs(together.rankings[place])


def test_among_rows_that_are_all_equal_the_first_win() -> None:
    vectors = np.repeat(unit(1, WIDTH), 5_000, axis=0)
    nearest = Nearest(unit(1, WIDTH), top=7)
    for _ in range(3):
        nearest.add(vectors)
    assert nearest.rankings[0].rows.tolist() == list(range(7))


@pytest.mark.parametrize("seed", range(4))
def test_what_a_fast_product_gets_wrong_is_put_right(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """As wrong as a bound allows that is so large that hundreds of rows lie within it, in favour of whatever does not belong to the answer."""
    vectors, query = unit(3_000, WIDTH, seed), unit(1, WIDTH, seed + 9)
    right = plainly(query[0], vectors, 25)
    best = {row for row, _ in right}
    slack = 0.1

    def wrong(self: Nearest, rows: Any) -> Any:
        signs = [-1 if self.seen + row in best else 1 for row in range(len(rows))]
        return true(self, rows) + np.float32(slack - 1e-5) * np.array(signs, np.float32)[:, None]

    true = Nearest._products
    monkeypatch.setattr(Nearest, "_products", wrong)
    nearest = Nearest(query, top=25)
    nearest._slack = slack
    nearest.add(vectors[:1_000])
    nearest.add(vectors[1_000:])
    assert pairs(nearest.rankings[0]) == right


def test_the_bound_holds_for_products_in_single_precision() -> None:
    vectors, asked = unit(4_000, 512, 3), unit(3, 512, 4)
    nearest = Nearest(asked, top=1)
    exact = vectors.astype(np.float64) @ asked.astype(np.float64).T
    assert np.abs(nearest._products(vectors) - exact).max() < nearest._slack - 1e-6
