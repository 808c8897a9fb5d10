"""The user's own captions made false by a small change: two things in each other's place, or a "not".

The negated ones are balanced: each is asked of its own picture and of another one, so that an encoder which merely prefers to read
one of the two gets exactly a half. For swapped ones no picture is there that would make them true: what they tell is how often the
true order is nearer, and an encoder without eyes may do better than a half by preferring what is said more often (Hsieh et al. 2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

# Words between two things that mean something else the other way round.
_RELATIONS = (
    "to the left of", "to the right of", "left of", "right of", "on top of", "in front of", "above", "below", "over", "under",
    "underneath", "behind", "inside", "on", "in", "holding", "wearing", "riding", "eating", "carrying", "chasing", "watching",
)  # fmt: skip
_RELATION = re.compile(rf"\s+({'|'.join(_RELATIONS)})\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture's row, two captions, which of them is true of it, and the caption that this came from."""

    picture: int
    captions: tuple[str, str]
    right: int
    group: str


def swapped(caption: str) -> str | None:
    """The caption with what stands before and after its relation exchanged; None where it has not exactly one."""
    parts = _RELATION.split(caption.strip().rstrip("."))
    if len(parts) != 3 or not parts[0] or not parts[2] or parts[0].lower() == parts[2].lower():
        return None
    return f"{parts[2]} {parts[1]} {parts[0]}"


def swapped_questions(captions: Sequence[Sequence[str]]) -> Iterator[Asked]:
    """Every caption of every picture that can be swapped."""
    for picture, own in enumerate(captions):
        for caption in own:
            other = swapped(caption)
            if other is not None and other not in own:
                yield Asked(picture, (caption, other), 0, caption)


def negated_questions(captions: Sequence[Sequence[str]], *, seed: int) -> Iterator[Asked]:
    """The first caption of each picture, asserted and denied, asked of that picture and of another that does not have it."""
    order = np.random.default_rng(seed).permutation(len(captions))
    for picture, other in zip(order.tolist(), np.roll(order, -1).tolist(), strict=True):
        caption = captions[picture][0]
        if caption in captions[other]:
            continue
        both = (f"a picture that shows {caption}", f"a picture that does not show {caption}")
        yield Asked(picture, both, 0, caption)
        yield Asked(other, both, 1, caption)
