"""Class design and association: what a phrase does to groups, and that a coincidence of one cluster is none of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from moderation.audit.design import Design, associate, vary_design
from moderation.detector.head import Head
from moderation.policy.schema import Policy
from tests.policy_text import POLICY
from tests.unit.audit.audited import block, judged, sample_of
from tests.unit.audit.test_assess import ORDER, policy_of

TWO = "[{id: toy, covers: [a1], phrases: [a water pistol]}, {id: kitchen, covers: [a1], phrases: [a kitchen knife]}]"
# Four directions: the two violating phrases, the toy, the kitchen knife; a fifth for what no phrase is about.
FIREARM, RIFLE, TOY, KITCHEN, OTHER = np.eye(5, dtype=np.float32)


def policy() -> Policy:
    return policy_of(POLICY.replace("[{id: toy, covers: [a1], phrases: [a water pistol, a plastic toy gun]}]", TWO))


def head() -> Head:
    directions = np.stack([FIREARM, RIFLE]), np.stack([TOY, KITCHEN])
    return Head("L0", *directions, np.ones(4), np.zeros(4), 20.0, centre=0.0, scale=0.1)


def looked_at(
    vectors: list[Any], groups: Sequence[str], *, cut: float = 0.5, clusters: list[str] | None = None
) -> tuple[Any, Design]:
    """A sample of these vectors, each of the group named in its turn, decided by the head."""
    stored = np.stack([vector / np.linalg.norm(vector) for vector in vectors]).astype(np.float16)
    scores = head().score(stored).values
    items = [
        judged(
            n,
            group=groups[n % len(groups)],
            score=float(score),
            force=3 * int(score >= cut),
            cluster=(clusters or [""] * len(vectors))[n],
        )
        for n, score in enumerate(scores)
    ]
    return sample_of(items), Design(head(), stored, {"review": cut})


def toys_and_knives() -> tuple[Any, Design]:
    """Group a shows guns beside toys, group b guns beside kitchen knives, as much of the one as of the other; half of each is acted on."""
    return looked_at([FIREARM + (0.2 + 0.0133 * n) * (TOY, KITCHEN)[n % 2] for n in range(120)], "ab")


def test_dropping_the_contrast_that_spares_one_group_opens_a_gap_and_as_many_are_acted_on() -> None:
    sample, design = toys_and_knives()
    acted = int((sample.force > 0).sum())
    assert acted == pytest.approx(60, abs=2)
    found = {one.change: one for one in vary_design(policy(), block(), sample, design, order=ORDER)}
    assert found.keys() == {"without toy", "without kitchen"}
    assert found["without toy"].before == pytest.approx(0.0, abs=0.04)
    # Without the toy all of group a scores higher than most of b. If more were acted on, the gap would be one half: all of a, and b as before.
    for one in found.values():
        assert one.after == pytest.approx(0.7, abs=0.08)


def test_a_proposed_phrase_spares_what_is_near_to_it() -> None:
    vectors = [FIREARM + (0.9 * OTHER if n % 2 else 0.9 * TOY * (n % 4 == 0)) + 0.001 * n * RIFLE for n in range(120)]
    sample, design = looked_at(vectors, "ab", cut=0.9)
    (found,) = [
        one
        for one in vary_design(policy(), block(), sample, design, order=ORDER, proposed={"a person": OTHER})
        if one.change == "with 'a person'"
    ]
    assert found.before == pytest.approx(0.5)  # half of a stands beside a toy, all of b is acted on
    assert found.after < 0.3


def test_the_last_contrast_is_never_dropped() -> None:
    sample, design = toys_and_knives()
    assert vary_design(policy_of(POLICY), block(), sample, design, order=ORDER) == ()


def test_the_group_that_a_phrase_is_near_to_is_named() -> None:
    vectors = [FIREARM * (1.0 if n % 4 == 1 else 0.2) + OTHER + 0.0001 * n * TOY for n in range(400)]
    found = {one.phrase: one for one in associate(policy(), block(), *looked_at(vectors, "ab"))}
    handgun = found["a handgun"]
    assert (handgun.group, handgun.nearest) == ("b", 40)
    assert handgun.share == 1.0
    assert handgun.share_of_all == 0.5
    assert handgun.skew == pytest.approx(np.log(2.0))
    assert handgun.p < 0.01
    assert found["a rifle"].p > 0.05


def test_what_is_not_known_is_no_group_that_a_phrase_calls_up() -> None:
    vectors = [FIREARM * (1.0 if n % 4 == 1 else 0.2) + OTHER + 0.0001 * n * TOY for n in range(400)]
    groups = ["a", "Unknown", "b", "not_known"]
    sample, design = looked_at(vectors, groups)
    assert sample.groups["group"].names == tuple(sorted(groups))  # an audit's verdicts count them as the manifest says
    for one in associate(policy(), block(), sample, design):
        assert one.group in {"a", "b"}
        assert one.share_of_all == 0.5  # of those who state it
    assert associate(policy(), block(), *looked_at(vectors, ["a", "unsaid"])) == ()


def test_forty_pictures_of_one_object_are_no_association() -> None:
    vectors = [FIREARM * (1.0 if n % 2 and n < 80 else 0.2) + OTHER + 0.0001 * n * TOY for n in range(400)]
    clusters = ["one gun" if n % 2 and n < 80 else f"c{n}" for n in range(400)]
    found = {one.phrase: one for one in associate(policy(), block(), *looked_at(vectors, "ab", clusters=clusters))}
    assert found["a handgun"].share == 1.0
    assert found["a handgun"].p > 0.05
