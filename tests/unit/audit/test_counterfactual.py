"""Counterfactual pairs: what counts as one, and sums that are those of looking at every pair."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.audit.counterfactual import LISTED, compare_counterfactuals
from moderation.audit.sample import Sample
from tests.unit.audit.audited import judged, sample_of

ORDER = ("allow", "review", "remove")


def test_pairs_differ_in_one_attribute_and_in_nothing_else():
    def row(number: int, tone: str, gender: str, *, hit: bool, cluster: str = "cook"):
        return judged(number, tone=tone, gender=gender, force=int(hit), score=0.5 + 0.4 * hit, cluster=cluster)

    sample = sample_of(
        [
            row(0, "dark", "man", hit=True),
            row(1, "light", "man", hit=False),
            row(2, "light", "woman", hit=False),
            row(3, "dark", "man", hit=False, cluster="pilot"),
        ],
        ["tone", "gender"],
    )
    found = compare_counterfactuals(sample, "tone", others=["gender"], order=ORDER)
    assert (found.pairs, found.flips, found.flip_rate) == (1, 1, 1.0)
    (swap,) = found.swaps
    assert (swap.a, swap.b, swap.only_a, swap.only_b) == ("dark", "light", 1, 0)
    assert swap.score_change == pytest.approx(-0.4)
    assert found.worst == ((f"{0:064d}", f"{1:064d}", pytest.approx(-0.4)),)


def test_mcnemar_counts_a_cluster_once():
    items = [
        judged(
            100 * cluster + 10 * place + n,
            tone=tone,
            gender=f"g{place}",
            force=int(cluster < 6 and tone == "dark"),
            cluster=f"c{cluster}",
        )
        for cluster in range(10)
        for place in range(5)
        for n, tone in enumerate(["dark", "light"])
    ]
    found = compare_counterfactuals(sample_of(items, ["tone", "gender"]), "tone", others=["gender"], order=ORDER)
    (swap,) = found.swaps
    assert (swap.pairs, swap.clusters, swap.only_a) == (50, 10, 30)
    assert swap.p == pytest.approx(2 * 0.5**6)  # six clusters one way, none the other, both sides; not thirty pairs


def every_pair(sample: Sample) -> list[tuple[int, int]]:
    """Pairs of rows that differ in tone and in nothing else, the earlier tone first, one by one."""
    codes, alike = sample.groups["tone"].codes, defaultdict(list)
    for row in np.nonzero(codes >= 0)[0].tolist():
        alike[sample.cluster[row], sample.target[row], sample.groups["gender"].codes[row]].append(row)
    found = [pair for rows in alike.values() for pair in combinations(rows, 2) if codes[pair[0]] != codes[pair[1]]]
    return [(a, b) if codes[a] < codes[b] else (b, a) for a, b in found]


ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["dark", "light", "medium", ""]), st.sampled_from(["man", "woman"]), st.booleans(),
        st.integers(0, 2), st.integers(0, 3), st.integers(0, 20),
    ),
    max_size=40,
)  # fmt: skip


@given(ITEMS)
def test_sums_over_sets_are_those_over_every_pair(items: list[tuple[str, str, bool, int, int, int]]) -> None:
    rows = [
        judged(n, tone=tone, gender=gender, target=target, force=force, cluster=f"c{cluster}", score=score / 20)
        for n, (tone, gender, target, force, cluster, score) in enumerate(items)
    ]
    sample = sample_of(rows, ["tone", "gender"])
    found, pairs = compare_counterfactuals(sample, "tone", others=["gender"], order=ORDER), every_pair(sample)
    flagged, names = sample.force > 0, sample.groups["tone"].names
    assert found.pairs == len(pairs)
    assert found.flips == sum(bool(flagged[a] != flagged[b]) for a, b in pairs)
    assert {(one.a, one.b): (one.pairs, one.only_a, one.only_b) for one in found.swaps} == {
        (names[a], names[b]): (
            len(
                own := [
                    (i, j)
                    for i, j in pairs
                    if (sample.groups["tone"].codes[i], sample.groups["tone"].codes[j]) == (a, b)
                ]
            ),
            sum(bool(flagged[i] and not flagged[j]) for i, j in own),
            sum(bool(flagged[j] and not flagged[i]) for i, j in own),
        )
        for a, b in {(int(sample.groups["tone"].codes[i]), int(sample.groups["tone"].codes[j])) for i, j in pairs}
    }
    moved = {(one.one, one.other): one.pairs for one in found.moves if one.pairs}
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for a, b in pairs:
        expected[ORDER[min(sample.force[a], sample.force[b])], ORDER[max(sample.force[a], sample.force[b])]] += 1
    assert moved == expected
    if pairs:
        assert found.flip_rate == pytest.approx(found.flips / found.pairs)
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.flip_rate <= found.high
        assert abs(found.worst[0][2]) == pytest.approx(max(abs(sample.score[b] - sample.score[a]) for a, b in pairs))


def test_the_flip_rate_knows_that_pairs_of_one_template_are_one_piece_of_evidence() -> None:
    tones = [f"tone {n:02d}" for n in range(20)]
    items = [
        judged(100 * cluster + n, tone=tone, force=int(cluster < 3 and n < 10), cluster=f"c{cluster}")
        for cluster in range(12)
        for n, tone in enumerate(tones)
    ]
    found = compare_counterfactuals(sample_of(items, ["tone"]), "tone", others=[], order=ORDER)
    assert (found.pairs, found.flips) == (12 * 190, 3 * 100)
    assert found.high is not None
    assert found.high > 0.25  # of 2,280 independent pairs it would end at 0.15


def test_hundreds_of_groups_name_the_swaps_that_stand_out() -> None:
    names = [f"g{n:03d}" for n in range(60)]
    items = [
        judged(1000 * cluster + n, tone=name, force=int(n == 7), cluster=f"c{cluster}")
        for cluster in range(12)
        for n, name in enumerate(names)
    ]
    found = compare_counterfactuals(sample_of(items, ["tone"]), "tone", others=[], order=ORDER)
    assert (found.tested, len(found.swaps)) == (60 * 59 // 2, LISTED)
    assert all("g007" in (one.a, one.b) for one in found.swaps[:59])
