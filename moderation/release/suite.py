"""Test files of policies: what they may say, and how they are read. Every mistake is located, all of them at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from moderation.decision import Outcome
from moderation.errors import DataError, Problem
from moderation.item import ContentItem, Part
from moderation.policy.decide import REVIEW
from moderation.policy.explain import explain
from moderation.policy.fields import Name, Section, Text
from moderation.policy.paths import is_file, join_path
from moderation.policy.yaml_source import Node, plain, read_yaml


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

Id = Annotated[Name, Field(description="Stable for ever; unique in its file.")]
Expected = Annotated[Expectation, Field(strict=False, description="The outcome, or the outcomes, that pass.")]


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


class Case(Section):
    """One item and the outcome it must get."""

    id: Id
    item: AnyItem
    expect: Expected
    why: Annotated[str, Field(description="The reason, for whoever sees it fail.")] = ""


class Pair(Section):
    """Two items that differ in one thing, and the outcome each must get."""

    id: Id
    a: AnyItem
    b: AnyItem
    a_expect: Expected
    b_expect: Expected
    why: Annotated[str, Field(description="The reason, for whoever sees it fail.")] = ""


class Suite(Section):
    """One test file. `degenerate` names made content that must never be flagged; `todo` lists gaps that still fail."""

    schema_: Annotated[Literal["policy-tests/v1"], Field(alias="schema")] = "policy-tests/v1"
    suite: Text
    cases: tuple[Case, ...] = ()
    pairs: tuple[Pair, ...] = ()
    degenerate: tuple[Literal["blank", "noise", "corrupt"], ...] = ()
    todo: tuple[Case, ...] = ()

    _path: Path = PrivateAttr(default=Path())

    @property
    def items(self) -> Iterator[tuple[tuple[str | int, ...], Item, Expectation]]:
        """Every item with its place in the file and what is expected of it; gaps are not expectations yet."""
        for number, case in enumerate(self.cases):
            yield ("cases", number, "item"), case.item, case.expect
        for number, pair in enumerate(self.pairs):
            yield ("pairs", number, "a"), pair.a, pair.a_expect
            yield ("pairs", number, "b"), pair.b, pair.b_expect

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


def load_suites(paths: Sequence[Path]) -> tuple[Suite, ...]:
    """The test files of one policy. Raises DataError with every problem of all of them.

    Tests must say both what must be flagged and what must not: a policy that flags everything, or nothing, would
    pass the one half.
    """
    suites: list[Suite] = []
    problems: list[Problem] = []
    for path in paths:
        suite, found = _load(path)
        problems += found
        suites += [suite] if suite else []
    if not problems:
        problems += _lacking(suites, list(paths))
    if problems:
        raise DataError(problems)
    return tuple(suites)


def check(path: Path, *, actions: Collection[str] = ()) -> list[Problem]:
    """Everything wrong with one test file in itself, and with what it expects of a policy that has these actions."""
    return _load(path, actions)[1]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of test files, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Suite.model_json_schema(by_alias=True)}


def _load(path: Path, actions: Collection[str] = ()) -> tuple[Suite | None, list[Problem]]:
    node, problems = read_yaml(path)
    if node is None or problems:
        return None, problems
    if not isinstance(node.value, dict):
        return None, [node.problem("P103", "found no mapping at the top; expected a test file")]
    try:
        suite = Suite.model_validate(plain(node))
    except ValidationError as error:
        return None, list(explain(error, node, Suite))
    suite._path = path  # noqa: SLF001 - it is this file's own class
    return suite, [*_repeated(suite, node), *_missing(suite, node), *_unanswerable(suite, node, actions)]


def _repeated(suite: Suite, node: Node) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    sections: dict[str, Sequence[Case | Pair]] = {"cases": suite.cases, "pairs": suite.pairs, "todo": suite.todo}
    for section, entries in sections.items():
        for number, entry in enumerate(entries):
            where = node.get(section, number, "id") or node
            before = first.setdefault(entry.id, where)
            if before is not where:
                yield where.problem("P104", f"id {entry.id!r} is also at line {before.line}")


def _missing(suite: Suite, node: Node) -> Iterator[Problem]:
    gaps = ((("todo", number, "item"), case.item) for number, case in enumerate(suite.todo))
    for keys, item in (*((keys, item) for keys, item, _ in suite.items), *gaps):
        if item.path is None:
            continue
        where = node.get(*keys) or node
        path = join_path(item.path, node.path.parent)
        if path is None:
            yield where.problem("P103", f"found {item.path!r}; expected a path relative to this file")
        elif not is_file(path):
            yield where.problem("T101", f"no file at {path}")


def _unanswerable(suite: Suite, node: Node, actions: Collection[str]) -> Iterator[Problem]:
    if set(actions) != {REVIEW}:
        return
    message = "expects match, but review is all that the policy asks for: such a policy answers review"
    # A gap that can never close is no better than a case that can never pass.
    gaps = ((("todo", number, "item"), case.expect) for number, case in enumerate(suite.todo))
    for keys, expect in (*((keys, expect) for keys, _, expect in suite.items), *gaps):
        if expect is Expectation.MATCH:
            yield (node.get(*keys) or node).problem("T104", message)


def _lacking(suites: Sequence[Suite], paths: Sequence[Path]) -> Iterator[Problem]:
    """Silence must not pass: a file without tests, or a policy whose tests all say the same."""
    for suite, path in zip(suites, paths, strict=True):
        if not (suite.cases or suite.pairs):
            yield Problem(path, 1, 1, "T102", "the file holds no case and no pair; expected at least one")
    expected = {expect for suite in suites for _, _, expect in suite.items}
    where = paths[0] if paths else Path()
    if suites and not expected & VIOLATING:
        message = "no test expects review or match; expected tests of both kinds"
        yield Problem(where, 1, 1, "T103", message)
    if suites and not expected & BENIGN:
        yield Problem(where, 1, 1, "T103", "no test expects no_match; expected tests of both kinds")
    if not suites:
        yield Problem(where, 0, 0, "T102", "no test file; expected at least one")
