"""Captions made false: what becomes of a sentence, and that reading alone gets a half."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from moderation.training.evaluation.captions import negated_questions, swapped, swapped_questions
from moderation.training.evaluation.probes import PROBES, accuracy
from moderation.training.evaluation.scenes import draw


@pytest.mark.parametrize(
    ("caption", "other"),
    [
        ("a cat on a mat.", "a mat on a cat"),
        ("the cup to the left of the plate", "the plate to the left of the cup"),
        ("a man riding a horse", "a horse riding a man"),
        ("a hat on a man on a horse", None),  # two relations: which things to exchange is not said
        ("a cat and a dog", None),
        ("a dog on a dog", None),
        ("on a mat", None),
    ],
)
def test_things_change_places_around_one_relation(caption: str, other: str | None) -> None:
    assert swapped(caption) == other


def test_a_swapped_caption_that_is_also_true_is_not_asked() -> None:
    questions = list(swapped_questions([("a cup on a plate", "a plate on a cup"), ("a cat on a mat",)]))
    assert [(one.picture, one.captions) for one in questions] == [(1, ("a cat on a mat", "a mat on a cat"))]


def test_negated_captions_are_balanced() -> None:
    captions = [(f"thing {number}",) for number in range(7)]
    questions = list(negated_questions(captions, seed=1))
    assert Counter(one.right for one in questions) == {0: 7, 1: 7}
    assert all((one.group in captions[one.picture]) == (one.right == 0) for one in questions)
    assert questions == list(negated_questions(captions, seed=1))
    assert list(negated_questions([("the same",), ("the same",)], seed=1)) == []


@pytest.mark.parametrize("name", PROBES)
def test_an_encoder_without_eyes_gets_exactly_chance(name: str) -> None:
    questions = list(PROBES[name]())
    captions = sorted({caption for one in questions for caption in one.captions})
    rng = np.random.default_rng(1)
    vectors = {caption: rng.normal(size=4).astype(np.float16) for caption in captions}
    same = np.ones((len(questions), 4), np.float16)  # every picture looks alike to it
    texts = [np.stack([vectors[caption] for caption in one.captions]) for one in questions]
    found = accuracy(same, texts, [one.right for one in questions], [one.group for one in questions])
    assert found.accuracy.value == pytest.approx(found.chance)


def test_scenes_are_drawn_the_same_and_differ() -> None:
    first, second = list(PROBES["counting"]())[:2]
    assert draw(first.scene) == draw(first.scene) != draw(second.scene)
