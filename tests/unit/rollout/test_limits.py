"""Limits: what is acted on is a fixed share of items and so many an hour, and what is held back says so."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from moderation.decision import Outcome, Severity, Verdict
from moderation.policy.decide import Terms
from moderation.policy.lock import Quota
from moderation.rollout.limits import HOUR, KEPT, Limits, LocalCounter, in_share
from tests.fakes import ACTIONS

TERMS = Terms("weapons", "1.0.0", "abc", "live", Severity.HIGH, on_error="review", cuts=(), max_parts=1)
REMOVE = Verdict("weapons", "1.0.0", "abc", "live", Outcome.MATCH, Severity.HIGH, action="remove")


def hold(verdict: Verdict, terms: Terms, counter: LocalCounter | None = None, *, item: str = "item") -> Verdict:
    (held,) = Limits(counter or LocalCounter(), ACTIONS).hold([(item, verdict, terms)])
    return held


@given(st.text(), st.text(), st.floats(0, 1), st.floats(0, 1))
def test_an_item_stays_in_when_the_share_grows(policy: str, item: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert in_share(policy, item, low) <= in_share(policy, item, high)
    assert in_share(policy, item, 1.0)
    assert not in_share(policy, item, 0.0)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_so_many_are_in_as_the_share_says_and_policies_draw_apart(share: float) -> None:
    items = [f"item-{number}" for number in range(20_000)]
    one, other = ([in_share(policy, item, share) for item in items] for policy in ("weapons", "fire"))
    for found, rate in ((one, share), (other, share), ([a and b for a, b in zip(one, other, strict=True)], share**2)):
        low, high = binom.ppf([1e-6, 1 - 1e-6], len(items), rate)
        assert low <= sum(found) <= high


def test_outside_of_the_share_nothing_is_asked_for_not_even_for_what_could_not_be_judged() -> None:
    failed = replace(REMOVE, outcome=Outcome.ERROR, action="review", error="detector_timeout")
    for verdict in (REMOVE, failed):
        held = hold(verdict, replace(TERMS, share=0.0))
        assert (held.limit, held.limited_to, held.asked, held.action) == ("rollout", None, None, verdict.action)


def test_only_what_is_outside_of_the_share_is_held_back() -> None:
    for item in (f"item-{number}" for number in range(20)):
        held = hold(REMOVE, replace(TERMS, share=0.5), item=item)
        assert held.limit == (None if in_share("weapons", item, 0.5) else "rollout")


def test_a_quota_counts_what_is_stronger_than_what_comes_then() -> None:
    terms, counter = replace(TERMS, quota=Quota(2, "review")), LocalCounter(clock=lambda: 0.0)
    review = replace(REMOVE, outcome=Outcome.REVIEW, action="review")
    found = [hold(one, terms, counter).asked for one in (REMOVE, review, review, REMOVE, review, REMOVE, REMOVE)]
    assert found == ["remove", "review", "review", "remove", "review", "review", "review"]


def test_what_is_outside_of_the_share_uses_up_no_quota() -> None:
    counter = LocalCounter(clock=lambda: 0.0)
    hold(REMOVE, replace(TERMS, share=0.0, quota=Quota(1, "review")), counter)
    assert hold(REMOVE, replace(TERMS, quota=Quota(1, "review")), counter).asked == "remove"


@pytest.mark.parametrize("status", ["draft", "shadow", "deprecated"])
def test_what_does_not_act_is_not_limited(status: str) -> None:
    terms = replace(TERMS, status=status, share=0.0, quota=Quota(1, "review"))
    assert hold(REMOVE, terms) is REMOVE
    quiet = replace(REMOVE, outcome=Outcome.NO_MATCH, action=None)
    assert hold(quiet, replace(TERMS, share=0.0)) is quiet


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.lists(st.sampled_from(["weapons", "fire"]), max_size=120))
def test_a_process_takes_its_part_of_each_quota_and_no_more(per_hour: int, share: float, asked: list[str]) -> None:
    counter = LocalCounter(share=share, clock=lambda: 7200.0)
    taken = Counter[str]()
    for policy, run in groupby(asked):
        taken[policy] += counter.take(policy, per_hour, len(list(run)))
    for policy in ("weapons", "fire"):
        assert taken[policy] == min(asked.count(policy), math.ceil(per_hour * share))


@given(st.integers(0, 30), st.lists(st.sampled_from(["remove", "review", None]), max_size=60), st.integers(1, 9))
def test_in_a_batch_the_first_ones_get_what_is_left_of_a_quota(
    left: int, actions: list[str | None], batches: int
) -> None:
    terms = replace(TERMS, quota=Quota(left, "review"))
    asked: list[int] = []

    class Spy(LocalCounter):
        def take(self, policy: str, per_hour: int, items: int) -> int:
            asked.append(items)
            return super().take(policy, per_hour, items)

    limits = Limits(Spy(clock=lambda: 0.0), ACTIONS)
    size = max(1, len(actions) // batches)
    found = [("item", replace(REMOVE, action=action), terms) for action in actions]
    held = [one for start in range(0, len(found), size) for one in limits.hold(found[start : start + size])]
    strong = [one for one in held if one.action == "remove"]
    assert [one.limit for one in strong] == [None if place < left else "quota" for place in range(len(strong))]
    assert all(not one.limit for one in held if one.action != "remove")
    assert len(asked) <= -(-len(actions) // size)


def test_every_hour_begins_anew_and_a_clock_that_is_set_back_and_forth_counts_on() -> None:
    now = 5 * HOUR - 1.0
    counter = LocalCounter(clock=lambda: now)
    assert [counter.take("weapons", 2, 1) for _ in range(3)] == [1, 1, 0]
    now = 5 * HOUR
    assert counter.take("weapons", 2, 1)
    now = 4 * HOUR
    assert not counter.take("weapons", 2, 1)
    now = 5 * HOUR
    assert counter.take("weapons", 2, 2) == 1


def test_what_was_counted_long_ago_is_let_go() -> None:
    now = 0.0
    counter = LocalCounter(clock=lambda: now)
    for hour in range(3 * KEPT):
        now = float(hour * HOUR)
        counter.take("weapons", 1, 1)
    assert len(counter._taken) <= KEPT


def test_what_was_refused_uses_up_nothing_of_a_quota_that_is_raised_within_the_hour() -> None:
    counter = LocalCounter(clock=lambda: 0.0)
    assert [counter.take("weapons", 5, items) for items in (8, 1000, 7)] == [5, 0, 0]
    assert [counter.take("weapons", 50, items) for items in (40, 8)] == [40, 5]
