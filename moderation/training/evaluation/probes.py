"""Probes of what a caption's words have to say together: which has which colour, where, how many, and whether at all.

Every probe is balanced: each set of captions is asked of pictures that make each of them the right one equally often, so that an
encoder that does not look, whatever it prefers to read, gets exactly the stated chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from moderation.training.evaluation.ranking import Floats, places, similarities, within
from moderation.training.evaluation.scenes import COLOURS, SHAPES, Placed, Thing
from moderation.training.evaluation.share import Share, share

COUNTS = ("one", "two", "three", "four", "five")
_RELATIONS = ("left of", "right of", "above", "below")
# Centres of the first and the second thing under each relation.
_CENTRES = (
    ((0.28, 0.5), (0.72, 0.5)),
    ((0.72, 0.5), (0.28, 0.5)),
    ((0.5, 0.28), (0.5, 0.72)),
    ((0.5, 0.72), (0.5, 0.28)),
)
_LAYOUTS = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A scene and captions of which one is true; `group` names what shares its captions."""

    scene: tuple[Placed, ...]
    captions: tuple[str, ...]
    right: int
    group: str


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How often the true caption was nearest; the interval counts groups, `chance` is 1 / captions."""

    accuracy: Share
    chance: float


def accuracy(images: Floats, texts: Sequence[Floats], right: Sequence[int], groups: Sequence[str]) -> ProbeResult:
    """Result of questions: `images` [n, d], for each its captions' vectors [k, d] and which is right; levels dealt fairly."""
    values = []
    for image, captions, answer in zip(images, texts, right, strict=True):
        cosines = similarities(image[None], captions)
        correct: NDArray[np.bool_] = (np.arange(len(captions)) == answer)[None]
        values.append(within(places(cosines, correct), 1)[0])
    chance = float(np.mean([1 / len(captions) for captions in texts]))
    return ProbeResult(share(np.array(values), groups), chance)


def _colours_swapped() -> Iterator[Question]:
    """Captions such as "a red circle and a blue square" against "a blue circle and a red square"."""
    for (one, other), (first, second) in itertools.product(
        itertools.combinations(COLOURS, 2), itertools.combinations(SHAPES, 2)
    ):
        captions = tuple(f"{_a(Thing(a, first))} and {_a(Thing(b, second))}" for a, b in ((one, other), (other, one)))
        for right, (a, b) in enumerate(((one, other), (other, one))):
            for mirrored in (0, 1):
                scene = _side_by_side(Thing(a, first), Thing(b, second), mirrored)
                yield Question(scene, captions, right, captions[0])


def _places_swapped() -> Iterator[Question]:
    """Captions such as "a red circle left of a blue square" against "a blue square left of a red circle"."""
    for first, second in _pairs():
        captions = (f"{_a(first)} left of {_a(second)}", f"{_a(second)} left of {_a(first)}")
        for right in (0, 1):
            yield Question(_side_by_side(first, second, right), captions, right, captions[0])


def _negation() -> Iterator[Question]:
    """With "a red circle" against without it, beside another thing, of scenes that both hold two things."""
    for first, second in _pairs():
        captions = (f"a picture with a {first}", f"a picture without a {first}")
        third = Thing(second.colour, first.shape)
        yield Question(_side_by_side(first, second, 0), captions, 0, captions[0])
        yield Question(_side_by_side(third, second, 0), captions, 1, captions[0])


def _counting() -> Iterator[Question]:
    """Captions such as "three red circles" against the other numbers up to five."""
    rng = np.random.default_rng(5)
    for thing in (Thing(colour, shape) for colour in COLOURS for shape in SHAPES):
        captions = tuple(f"{word} {thing}{'s' if number else ''}" for number, word in enumerate(COUNTS))
        for _, right in itertools.product(range(_LAYOUTS), range(len(COUNTS))):
            cells = rng.permutation(9)[: right + 1]
            scene = tuple(Placed(thing, (cell % 3 + 0.75) / 3.5, (cell // 3 + 0.75) / 3.5, 0.11) for cell in cells)
            yield Question(scene, captions, right, captions[0])


def _spatial() -> Iterator[Question]:
    """Captions such as "a red circle above a blue square" against left of, right of and below."""
    for first, second in _pairs():
        captions = tuple(f"{_a(first)} {relation} {_a(second)}" for relation in _RELATIONS)
        for right, (one, other) in enumerate(_CENTRES):
            yield Question((Placed(first, *one, 0.18), Placed(second, *other, 0.18)), captions, right, captions[0])


def _pairs() -> Iterator[tuple[Thing, Thing]]:
    """Pairs of things that differ in both colour and shape, each once."""
    things = [Thing(colour, shape) for colour in COLOURS for shape in SHAPES]
    pairs = itertools.combinations(things, 2)
    return ((a, b) for a, b in pairs if a.colour != b.colour and a.shape != b.shape)


def _side_by_side(first: Thing, second: Thing, mirrored: int) -> tuple[Placed, ...]:
    one, other = _CENTRES[mirrored]
    return Placed(first, *one, 0.18), Placed(second, *other, 0.18)


def _a(thing: Thing) -> str:
    return f"a {thing}"


PROBES: Mapping[str, Callable[[], Iterator[Question]]] = MappingProxyType(
    {
        "colours swapped": _colours_swapped,
        "places swapped": _places_swapped,
        "negation": _negation,
        "counting": _counting,
        "spatial": _spatial,
    }
)
