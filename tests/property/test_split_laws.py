"""How fit targets are dealt into folds: whole clusters, every fold with both classes, whatever the clusters' sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moderation.compiler.levels import DEALS, FOLDS, MIN_CLUSTERS, split, too_few
from moderation.compiler.probe import Targets, targets

SIZES = st.lists(st.integers(1, 30), min_size=MIN_CLUSTERS, max_size=20)


def made(violating: list[int], benign: list[int], mixed: list[int]) -> Targets:
    """One cluster for each number, of so many rows; a mixed one has both classes."""
    sides = [True] * len(violating) + [False] * len(benign) + [None] * len(mixed)
    rows = [
        (number, side if side is not None else bool(row % 2))
        for number, (side, size) in enumerate(zip(sides, [*violating, *benign, *[n + 1 for n in mixed]], strict=True))
        for row in range(size)
    ]
    clusters, flags = (np.array(column) for column in zip(*rows, strict=True))
    return targets(np.zeros((len(rows), 2), np.float16), flags.astype(np.bool_), clusters.astype(np.int64))


@given(violating=SIZES, benign=SIZES, mixed=st.lists(st.integers(1, 5), max_size=12), seed=st.integers(0, 99))
def test_every_fold_has_both_classes_and_whole_clusters(
    violating: list[int], benign: list[int], mixed: list[int], seed: int
) -> None:
    fit = made(violating, benign, mixed)
    assert not too_few(fit)
    folds = split(fit, seed=seed)
    assert len(folds) == DEALS * FOLDS
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(len(fit)))
        assert not set(fit.clusters[train]) & set(fit.clusters[test])
        assert {len(np.unique(fit.violating[rows])) for rows in (train, test)} == {2}
    for deal in range(DEALS):
        held_out = np.concatenate([test for _, test in folds[deal * FOLDS : (deal + 1) * FOLDS]])
        assert sorted(held_out) == list(range(len(fit)))
    sizes = [len(np.unique(fit.clusters[test])) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1


@given(mixed=st.lists(st.integers(1, 5), min_size=MIN_CLUSTERS, max_size=12), seed=st.integers(0, 99))
def test_clusters_of_both_classes_alone_are_enough(mixed: list[int], seed: int) -> None:
    fit = made([], [], mixed)
    for _, test in split(fit, seed=seed):
        assert len(np.unique(fit.violating[test])) == 2


def test_the_same_seed_deals_the_same_and_another_does_not() -> None:
    fit = made([3] * 9, [2] * 20, [])
    deals = [[test.tolist() for _, test in split(fit, seed=seed)] for seed in (1, 1, 2)]
    assert deals[0] == deals[1] != deals[2]


def test_each_deal_is_another() -> None:
    folds = split(made([3] * 9, [2] * 20, []), seed=1)
    deals = [[test.tolist() for _, test in folds[at : at + FOLDS]] for at in range(0, DEALS * FOLDS, FOLDS)]
    assert all(one != other for at, one in enumerate(deals) for other in deals[:at])
