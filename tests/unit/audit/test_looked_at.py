"""Who was looked at: counts and rates of every group, whatever harm was declared, and what reviewers made of decisions."""

from __future__ import annotations

import numpy as np
import pytest

from moderation.audit.looked_at import look_at
from moderation.audit.overturns import count_overturns
from moderation.audit.sample import make_sample, refuse_reviews
from moderation.errors import DataError
from moderation.policy.audit_block import AuditAttribute, AuditReview
from tests.unit.audit.audited import judged, sample_of

ORDER = ("allow", "label", "limit", "review", "remove")
GROUP = AuditAttribute(name="group", about="depicted", source="annotators", agreement=0.71)
REVIEW = AuditReview(outcome="said", weight="stands_for")


def test_counts_and_rates_of_each_group_whatever_the_harms() -> None:
    items = [
        *(judged(n, group="a", force=3 * (n < 2), review=n < 2) for n in range(8)),
        *(judged(10 + n, group="a", target=True, force=4 * (n < 3)) for n in range(4)),
        judged(20, group="b"),
        judged(21, group="b", score=None, error="detector_error"),
        judged(22, group="c", score=None, error="detector_error"),
        judged(23),
    ]
    found = look_at(GROUP, sample_of(items), ORDER)
    assert (found.about, found.source, found.agreement, found.unknown) == ("depicted", "annotators", 0.71, 1)
    a, b, c = found.groups
    assert (a.group, a.items, a.violating, a.benign, a.clusters, a.lost) == ("a", 12, 4, 8, 12, 0)
    assert a.actions == {"allow": 7, "review": 2, "remove": 3}
    assert (a.wrongful.events, a.wrongful.items, a.wrongful.rate) == (2, 8, 0.25)
    assert (a.missed.events, a.missed.items, a.missed.rate) == (1, 4, 0.25)
    assert (a.review.events, a.review.items, a.review.rate) == (2, 12, pytest.approx(1 / 6))
    assert a.wrongful.low < 0.25 < a.wrongful.high
    assert (b.items, b.lost, b.missed.rate) == (1, 1, None)
    assert (c.group, c.items, c.lost) == ("c", 0, 1)


def reviewed(number: int, said: str, group: str = "a", *, weight: str = "", force: int = 3, cluster: str = ""):
    return judged(number, force=force, group=group, said=said, stands_for=weight, cluster=cluster)


def overturned(*items):
    sample = make_sample(items, ["group"], review=REVIEW)
    return {one.group: one for one in count_overturns(sample, sample.groups["group"])}


def test_of_what_is_acted_on_and_reviewed_the_share_overturned() -> None:
    found = overturned(
        *(reviewed(n, "overturned" if n < 2 else "upheld") for n in range(10)),
        *(reviewed(20 + n, "") for n in range(5)),  # nobody looked
        *(reviewed(30 + n, "overturned", force=0) for n in range(5)),  # nothing was done to it
        *(reviewed(40 + n, "", "b") for n in range(3)),
    )
    a, b = found["a"], found["b"]
    assert (a.acted_on, a.reviewed, a.overturned, a.rate) == (15, 10, 2, 0.2)
    assert a.low is not None
    assert a.high is not None
    assert a.low < 0.2 < a.high
    assert (b.acted_on, b.reviewed, b.rate, b.low) == (3, 0, None, None)


def test_an_item_counts_for_as_many_as_it_stands_for() -> None:
    light = [reviewed(n, "upheld", weight="1") for n in range(90)]
    heavy = [reviewed(100 + n, "overturned", weight="9") for n in range(10)]
    (found,) = overturned(*light, *heavy).values()
    assert found.rate == pytest.approx(0.5)
    # Kish: (90 + 90)^2 / (90 + 810) = 36 items at most.
    assert found.effective <= 36.0
    (plain,) = overturned(*(reviewed(n, "overturned" if n < 10 else "upheld") for n in range(100))).values()
    assert plain.rate == pytest.approx(0.1)


def test_items_of_one_cluster_are_one_reviewers_case() -> None:
    (found,) = overturned(
        *(reviewed(n, "overturned" if n < 50 else "upheld", cluster=f"c{n // 10}") for n in range(100))
    ).values()
    assert found.clusters == 10
    assert found.effective < 15


def test_nobody_looked() -> None:
    assert overturned(reviewed(0, "")) == {}
    sample = sample_of([judged(0, group="a", said="overturned", force=1)])
    assert count_overturns(sample, sample.groups["group"]) == ()  # the policy names no such attribute


@pytest.mark.parametrize(
    ("said", "weight", "problem"),
    [
        ("maybe", "", "attributes.said: found 'maybe'; expected upheld, overturned, or nothing"),
        ("upheld", "many", "attributes.stands_for: found 'many'; expected a number above 0"),
        ("upheld", "0", "expected a number above 0"),
        ("", "nan", "expected a number above 0"),
        ("", "inf", "expected a number above 0"),
    ],
)
def test_outcomes_and_weights_that_cannot_be_read_are_located(said: str, weight: str, problem: str) -> None:
    rows = [reviewed(0, "upheld").row, reviewed(1, said, weight=weight).row]
    with pytest.raises(DataError) as caught:
        refuse_reviews(rows, REVIEW)
    (found,) = caught.value.problems
    assert found.code == "D003"
    assert problem in found.message
    refuse_reviews(rows, None)


def test_weighted_rates_are_as_wide_as_samples_say() -> None:
    """Items drawn with unequal chances, weighted back: the interval holds the true share in about 95 % of samples."""
    random, held = np.random.default_rng(0), 0
    for run in range(200):
        heavy = random.random(300) < 0.3
        event = random.random(300) < np.where(heavy, 0.3, 0.1)
        items = [
            reviewed(1000 * run + n, "overturned" if hit else "upheld", weight="6" if big else "1")
            for n, (hit, big) in enumerate(zip(event, heavy, strict=True))
        ]
        (found,) = overturned(*items).values()
        truth = (0.3 * 6 * 0.3 + 0.7 * 0.1) / (0.3 * 6 + 0.7)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held >= 180  # of 200 at 95 %: fewer than 181 in one of ten thousand
