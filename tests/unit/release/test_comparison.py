"""Two sides counted: as one would count by hand, whatever the chunks; intervals that know clusters; examples of each way."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from moderation.history.items import NO_DAY
from moderation.release.comparison import EXAMPLES, MOST_VALUES, NOTHING, Compared, Comparison, Moved
from moderation.release.shares import Events, Tried, share
from tests.fakes import ACTIONS
from tests.unit.release.sides import BANDS, Row, items_of, sides_of

bands = st.sampled_from(BANDS)
scores = st.sampled_from([0.1, 0.5, 0.9, np.nan])
rows = st.lists(
    st.builds(
        Row,
        before=bands,
        after=bands,
        cluster=st.sampled_from(["", "one", "two"]),
        attributes=st.dictionaries(st.sampled_from(["surface", "region"]), st.sampled_from(["a", "b"]), max_size=2),
        target=st.none() | st.booleans(),
        scores=st.tuples(scores, scores),
        concept=st.sampled_from([None, "a gun", "a knife"]),
        weight=st.just(np.nan),
        day=st.just(NO_DAY),
    ),
    max_size=40,
)
FORCE = {"nothing": 0, "out of scope": 0, "error": 3, **{name: place for place, name in enumerate(ACTIONS) if place}}


def compared(given_rows: list[Row], *sizes: int) -> Compared:
    """The rows, in chunks of these sizes and the rest."""
    comparison, first = Comparison(ACTIONS), 0
    for size in (*sizes, len(given_rows)):
        part = given_rows[first : first + size]
        comparison.add(items_of(part, first=first), *sides_of(part))
        first += len(part)
    return comparison.result()


def ways(part: list[Row]) -> tuple[int, int, int]:
    """How many changed band, and how many are asked more of, or less."""
    moved = [FORCE[row.after] - FORCE[row.before] for row in part if row.before != row.after]
    return len(moved), sum(one > 0 for one in moved), sum(one < 0 for one in moved)


def test_a_long_id_is_told_by_its_end_and_marked() -> None:
    one = Moved("pictures/0123456789.png", None, "nothing", "review", None, None, None)
    assert one.ending(8) == "…789.png"
    assert (one.ending(len(one.item)), len(one.ending(8))) == (one.item, 8)


@given(rows)
def test_it_counts_what_one_would_count_by_hand(given_rows: list[Row]) -> None:
    found = compared(given_rows)
    counts = Counter((row.before, row.after) for row in given_rows)
    assert {(b, a): n for b, line in found.matrix.items() for a, n in line.items() if n} == dict(counts)
    assert found.items == len(given_rows)
    assert (found.overall.changed.hits, found.overall.stricter.hits, found.overall.milder.hits) == ways(given_rows)
    assert {(one.before, one.after): one.share.hits for one in found.flips} == {
        pair: count for pair, count in counts.items() if pair[0] != pair[1]
    }
    for one in found.flips:
        own = [
            (place, row) for place, row in enumerate(given_rows) if (row.before, row.after) == (one.before, one.after)
        ]
        assert one.share.clusters == len({row.cluster or str(place) for place, row in own})
        assert (one.violating, one.benign) == tuple(sum(row.target is side for _, row in own) for side in (True, False))
    groups = {
        f"{name} {value}": [row for row in given_rows if row.attributes.get(name) == value]
        for name in ("surface", "region")
        for value in "ab"
    }
    assert {one.name: (one.items, one.changed.hits, one.stricter.hits, one.milder.hits) for one in found.by_group} == {
        name: (len(part), *ways(part)) for name, part in groups.items() if part
    }
    phrases = {
        name: [row for row in given_rows if (row.concept or "none") == name] for name in ("none", "a gun", "a knife")
    }
    assert {one.name: (one.items, one.changed.hits) for one in found.by_concept} == {
        name: (len(part), ways(part)[0]) for name, part in phrases.items() if part
    }
    stated = {name for row in given_rows for name in row.attributes}
    assert found.unstated == {name: sum(name not in row.attributes for row in given_rows) for name in sorted(stated)}


@given(rows, st.lists(st.integers(0, 9), max_size=5))
def test_chunks_change_nothing(given_rows: list[Row], sizes: list[int]) -> None:
    assert compared(given_rows, *sizes) == compared(given_rows)


def test_where_every_item_is_its_own_cluster_the_interval_is_the_exact_one() -> None:
    found = compared(
        [Row("nothing", "review", attributes={"surface": "chat"})] * 7 + [Row(attributes={"surface": "chat"})] * 93
    )
    exact = binomtest(7, 100).proportion_ci(method="exact")
    (flip,), (group,) = found.flips, found.by_group
    for one in (flip.share, group.stricter, found.overall.changed):
        assert (one.low, one.high) == pytest.approx((exact.low, exact.high))
        assert one.clusters == 7


def test_one_object_seen_forty_times_is_one_piece_of_evidence() -> None:
    found = compared([Row("nothing", "review", cluster="gun")] * 40 + [Row()] * 360)
    (flip,) = found.flips
    assert (flip.share.hits, flip.share.clusters) == (40, 1)
    assert (flip.share.low, flip.share.high) == pytest.approx((share(1, 10).low, share(1, 10).high))


def test_intervals_of_clustered_counts_cover() -> None:
    """Clusters of random size come by chance, as do their hits: the interval holds the true rate at least as often as it says."""
    rng, runs, covered = np.random.default_rng(0), 400, 0
    for _ in range(runs):
        sizes = rng.geometric(0.3, size=300)
        hit = rng.random(300) < 0.08
        events = Events()
        events.add(
            np.zeros(int(sizes[hit].sum()), np.int64),
            np.repeat(np.arange(300), np.where(hit, sizes, 0)).astype(np.uint64),
        )
        tried = Tried()
        tried.add(np.zeros(int(sizes.sum()), np.int64), *(np.repeat(np.arange(300) + one, sizes).astype(np.uint64) for one in (300, 0)))  # fmt: skip
        (found,) = events.shares(*tried.result(1))
        covered += found.low <= 0.08 <= found.high
    assert binomtest(covered, runs, 0.95, alternative="less").pvalue > 1e-4


def test_examples_are_those_that_moved_most_each_way_and_by_lot_where_none_did() -> None:
    far = [Row("nothing", "review", scores=(0.1, 0.1 + 0.01 * number)) for number in range(40)]
    found = compared([*far, *[Row("review", "nothing")] * 40, *[Row("error", "review")] * 3])
    up, down = found.examples[:EXAMPLES], found.examples[EXAMPLES : 2 * EXAMPLES]
    assert [one.item for one in up] == [str(number) for number in range(39, 29, -1)]
    assert {one.after for one in down} == {NOTHING}
    assert len({one.item for one in down}) == EXAMPLES
    assert [one.item for one in down] != sorted((one.item for one in down), key=int)
    assert len(found.examples) == 2 * EXAMPLES + 3


def test_an_attribute_of_too_many_values_is_no_group_and_that_is_said() -> None:
    many = [
        Row("nothing", "review", attributes={"user": str(number), "surface": "chat"})
        for number in range(MOST_VALUES + 1)
    ]
    for found in (compared(many), compared(many, 100)):
        assert [one.name for one in found.by_group] == ["surface chat"]
        assert found.unstated == {"surface": 0, "user": None}
    assert len(compared(many[:-1]).by_group) == MOST_VALUES + 1


def test_nothing_at_all_is_compared_too() -> None:
    found = compared([])
    assert (found.items, found.flips, found.by_group, found.examples, found.seen) == (0, (), (), (), ())
    assert (found.overall.changed.low, found.overall.changed.high) == (0.0, 1.0)
