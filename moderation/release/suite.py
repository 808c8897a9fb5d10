"""Test files of policies: what they may say, and how they are read. Every mistake is located, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from moderation.decision import Outcome
from moderation.errors import DataError, Problem
from moderation.item import ContentItem, Part

SUITE_SCHEMA = "policy-tests/v1"
_TEXT_SUFFIX = ".txt"


class Expectation(StrEnum):
    """What a test expects of its verdict. `at_least` and `at_most` order no_match < review < match."""

    NO_MATCH = "no_match"
    REVIEW = "review"
    MATCH = "match"
    ERROR = "error"
    AT_LEAST_REVIEW = "at_least review"
    AT_MOST_REVIEW = "at_most review"
    NOTHING = "no_match or error"

    def holds(self, outcome: Outcome) -> bool:
        """Whether `outcome` is what was expected."""
        return outcome in _HOLDS[self]


_HOLDS: dict[Expectation, frozenset[Outcome]] = {
    Expectation.NO_MATCH: frozenset({Outcome.NO_MATCH}),
    Expectation.REVIEW: frozenset({Outcome.REVIEW}),
    Expectation.MATCH: frozenset({Outcome.MATCH}),
    Expectation.ERROR: frozenset({Outcome.ERROR}),
    Expectation.AT_LEAST_REVIEW: frozenset({Outcome.REVIEW, Outcome.MATCH}),
    Expectation.AT_MOST_REVIEW: frozenset({Outcome.NO_MATCH, Outcome.REVIEW}),
    Expectation.NOTHING: frozenset({Outcome.NO_MATCH, Outcome.ERROR}),
}
VIOLATING = frozenset({Expectation.REVIEW, Expectation.MATCH, Expectation.AT_LEAST_REVIEW})
BENIGN = frozenset({Expectation.NO_MATCH, Expectation.AT_MOST_REVIEW})

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", description="Stable for ever; unique in its file.")]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextItem(_Entry):
    """A text to judge, written in the test file itself."""

    text: Annotated[str, Field(min_length=1)]


Item = Annotated[str, Field(min_length=1, description="A picture or .txt file, beside the test file.")] | TextItem


class Case(_Entry):
    """One item and the outcome it must get."""

    id: Id
    item: Item
    expect: Expectation
    why: str = ""


class Pair(_Entry):
    """Two items that differ in one thing, and the outcome each must get."""

    id: Id
    a: Item
    b: Item
    a_expect: Expectation
    b_expect: Expectation
    why: str = ""


class Suite(_Entry):
    """One test file. `degenerate` names made content that must never be flagged; `todo` lists gaps that still fail."""

    schema_: Annotated[Literal["policy-tests/v1"], Field(alias="schema")] = "policy-tests/v1"
    suite: Annotated[str, Field(min_length=1)]
    cases: tuple[Case, ...] = ()
    pairs: tuple[Pair, ...] = ()
    degenerate: tuple[Literal["blank", "noise", "corrupt"], ...] = ()
    todo: tuple[Case, ...] = ()
