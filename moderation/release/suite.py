"""Test files of policies: what they may say. suite_file.py reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    WithJsonSchema,
    model_validator,
)

from moderation.decision import Outcome
from moderation.errors import DataError, Problem
from moderation.item import ContentItem, Part
from moderation.policy.fields import Name, Section, Share, Text
from moderation.policy.paths import join_path


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

Id = Annotated[Name, Field(description="Stable for ever; unique in its file.")]
Expected = Annotated[Expectation, Field(strict=False, description="The outcome, or the outcomes, that pass.")]
Confidence = Annotated[float, Field(ge=0.5, lt=1, description="Of the bound that decides, one-sided.")]


class Item(Section):
    """What to judge: a file beside the test file, or a text written in it."""

    path: Text | None = None
    text: Text | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Item:
        if (self.path is None) == (self.text is None):
            raise ValueError("expected one of 'path' and 'text'")
        return self


def _named(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


_ITEM_HELP = "A picture or .txt file beside the test file, or {text: the text itself}."
AnyItem = Annotated[
    Item,
    BeforeValidator(_named),
    WithJsonSchema(
        {"description": _ITEM_HELP, "anyOf": [{"type": "string", "minLength": 1}, Item.model_json_schema()]}
    ),
]


class Test(Section):
    """What every test has."""

    __test__ = False

    id: Id
    why: Annotated[str, Field(description="The reason, for whoever sees it fail.")] = ""
    covers: Annotated[tuple[Name, ...], Field(description="Ids of the concepts and clauses this test is about.")] = ()


class Case(Test):
    """One item and the outcome it must get."""

    item: AnyItem
    expect: Expected


class Pair(Test):
    """Two items that differ in one thing, and the outcome each must get."""

    a: AnyItem
    b: AnyItem
    a_expect: Expected
    b_expect: Expected


class Direction(Test):
    """Two items, of which the second must score higher, or lower."""

    a: AnyItem
    b: AnyItem
    score: Annotated[Literal["rises", "falls"], Field(description="What the score does from a to b.")]


class SetTest(Test):
    """A test over the items of a manifest; `where` keeps those with these attributes, `target` those that violate, or do not."""

    items: Annotated[Text, Field(description="A data manifest beside the test file.")]
    where: Annotated[
        dict[str, str],
        Field(default_factory=dict, description="Only rows with these attributes; none at all is a failure."),
    ]
    target: Annotated[bool | None, Field(description="Only rows with this target.")] = None


class Invariance(SetTest):
    """A change that must not matter: every item that it alters, as it is and changed."""

    change: Annotated[
        Literal[
            "grayscale", "mirror", "jpeg60", "crop90", "half_size", "upper_case", "no_punctuation", "spaced", "swap"
        ],
        Field(description="What is changed. For pictures up to `half_size`, for texts the others."),
    ]
    swap: Annotated[
        dict[Text, Text],
        Field(default_factory=dict, description="With `change: swap`: whole words and what each becomes."),
    ]
    max_band_changes: Annotated[
        Share, Field(description="The share of clusters whose outcome changes, at its upper bound; 0: none may.")
    ] = 0.0
    max_score_change: Annotated[Share, Field(description="Largest change of any item's score.")] = 1.0
    confidence: Confidence = 0.95
    min_items: Annotated[int, Field(ge=1, description="Fewer clusters that the change alters are a failure.")] = 30

    @model_validator(mode="after")
    def _swap_where_meant(self) -> Invariance:
        if (self.change == "swap") != bool(self.swap):
            raise ValueError("expected 'swap' with 'change: swap', and only there")
        return self


class Capability(SetTest):
    """A named group of items, of which so many must get the outcome: the lower bound of their share reaches `floor`."""

    expect: Expected
    floor: Annotated[Share, Field(description="The share of clusters, at its lower bound.")]
    confidence: Confidence = 0.95
    min_items: Annotated[int, Field(ge=1, description="Fewer clusters are a failure.")] = 30


class Benign(SetTest):
    """Ordinary content, of which so little may be acted on: the upper bound of the share stays under `cap`."""

    action: Annotated[Name | None, Field(description="Only this action or a stronger one counts.")] = None
    cap: Annotated[Share, Field(description="The share of clusters acted on, at its upper bound.")]
    confidence: Confidence = 0.95
    min_items: Annotated[int, Field(ge=1, description="Fewer clusters are a failure.")] = 3000


class Parity(SetTest):
    """Groups of items, told apart by an attribute, that must get the outcome about as often."""

    attribute: Annotated[Name, Field(description="What tells groups apart.")]
    expect: Expected
    max_gap: Annotated[Share, Field(gt=0, description="Largest difference of two groups' shares, at its upper bound.")]
    confidence: Confidence = 0.95


class Stability(SetTest):
    """The same bytes, encoded anew in batches of other sizes, must get the same outcome and nearly the same score."""

    batches: Annotated[tuple[Annotated[int, Field(ge=1, le=256)], ...], Field(min_length=2)] = (1, 7, 64)
    max_score_change: Annotated[Share, Field(description="Largest change of any item's score.")] = 0.001


class Suite(Section):
    """One test file. `degenerate` names made content that must never be flagged; `todo` lists gaps that still fail."""

    schema_: Annotated[Literal["policy-tests/v1"], Field(alias="schema")] = "policy-tests/v1"
    suite: Text
    cases: tuple[Case, ...] = ()
    pairs: tuple[Pair, ...] = ()
    directions: tuple[Direction, ...] = ()
    invariance: tuple[Invariance, ...] = ()
    capabilities: tuple[Capability, ...] = ()
    benign: tuple[Benign, ...] = ()
    groups: tuple[Parity, ...] = ()
    stability: tuple[Stability, ...] = ()
    degenerate: tuple[Literal["blank", "noise", "corrupt", "words"], ...] = ()
    todo: tuple[Case, ...] = ()

    _path: Path = PrivateAttr(default=Path())

    @property
    def path(self) -> Path:
        """The file it came from."""
        return self._path

    @property
    def expectations(self) -> Iterator[tuple[tuple[str | int, ...], Expectation]]:
        """Every expected outcome with its place in the file; gaps are not expectations yet."""
        for number, case in enumerate(self.cases):
            yield ("cases", number, "item"), case.expect
        for number, pair in enumerate(self.pairs):
            yield ("pairs", number, "a"), pair.a_expect
            yield ("pairs", number, "b"), pair.b_expect
        for number, capability in enumerate(self.capabilities):
            yield ("capabilities", number, "expect"), capability.expect

    @property
    def files(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Every file that it names, with its place."""
        single = {"cases": self.cases, "todo": self.todo}
        for section, cases in single.items():
            for number, case in enumerate(cases):
                if case.item.path is not None:
                    yield (section, number, "item"), case.item.path
        both: dict[str, Sequence[Pair | Direction]] = {"pairs": self.pairs, "directions": self.directions}
        for section, entries in both.items():
            for number, entry in enumerate(entries):
                for side, item in (("a", entry.a), ("b", entry.b)):
                    if item.path is not None:
                        yield (section, number, side), item.path
        for section, sets in self.sets.items():
            for number, one in enumerate(sets):
                yield (section, number, "items"), one.items

    @property
    def inputs(self) -> Iterator[Path]:
        """The test file itself and every file that it names."""
        yield self._path
        for _, name in self.files:
            yield join_path(name, self._path.parent) or self._path.parent

    @property
    def sets(self) -> dict[str, tuple[SetTest, ...]]:
        """The tests over manifests, by section."""
        return {
            "invariance": self.invariance,
            "capabilities": self.capabilities,
            "benign": self.benign,
            "groups": self.groups,
            "stability": self.stability,
        }

    @property
    def named(self) -> dict[str, tuple[Test, ...]]:
        """Every test that has an id, by section."""
        return {
            "cases": self.cases,
            "pairs": self.pairs,
            "directions": self.directions,
            **self.sets,
            "todo": self.todo,
        }

    def read(self, item: Item, *, id: str) -> ContentItem:  # noqa: A002 - as the values name it
        """The content of one of the suite's items. Raises DataError when its file is gone or cannot be read."""
        if item.text is not None:
            return ContentItem(id, (Part.text(item.text),))
        path = join_path(item.path or "", self._path.parent) or self._path.parent
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError([Problem(self._path, 0, 0, "T101", f"{path}: cannot be read: {error.strerror}")]) from None
        return ContentItem(id, (Part.from_file(path, content),))

    def at(self, path: Path) -> Suite:
        """This suite, knowing the file it came from."""
        located = self.model_copy()
        located._path = path  # noqa: SLF001  the copy is this suite's own
        return located
