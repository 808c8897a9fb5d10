"""Test files, read and checked: every mistake is located, all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moderation.errors import DataError, Problem
from moderation.meant import did_you_mean
from moderation.policy.decide import REVIEW
from moderation.policy.explain import explain
from moderation.policy.paths import is_file, join_path
from moderation.policy.polarity import lacking, ways
from moderation.policy.schema import Policy
from moderation.policy.yaml_source import Node, plain, read_yaml
from moderation.release.suite import Expectation, Suite


def load_suites(paths: Sequence[Path], *, policy: Policy | None = None) -> tuple[Suite, ...]:
    """The test files of one policy. Raises DataError with every problem of all of them.

    Tests must say both what must be flagged and what must not: a policy that flags everything, or nothing, would
    pass the one half. With the `policy`, what tests say they cover must be concepts and clauses of it.
    """
    suites: list[Suite] = []
    problems: list[Problem] = []
    for path in paths:
        suite, found = _load(path, policy)
        problems += found
        suites += [suite] if suite else []
    if not problems:
        problems += _lacking(suites, list(paths))
    if problems:
        raise DataError(problems)
    return tuple(suites)


def check(path: Path, *, policy: Policy | None = None) -> list[Problem]:
    """Everything wrong with one test file in itself, and with what it expects of this policy."""
    return _load(path, policy)[1]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of test files, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Suite.model_json_schema(by_alias=True)}


def _load(path: Path, policy: Policy | None) -> tuple[Suite | None, list[Problem]]:
    node, problems = read_yaml(path)
    if node is None or problems:
        return None, problems
    if not isinstance(node.value, dict):
        return None, [node.problem("P103", "found no mapping at the top; expected a test file")]
    try:
        suite = Suite.model_validate(plain(node)).at(path)
    except ValidationError as error:
        return None, list(explain(error, node, Suite))
    found = [*_repeated(suite, node), *_missing(suite, node)]
    if policy is not None:
        found += [
            *_unanswerable(suite, node, policy),
            *_unknown_action(suite, node, policy),
            *_covers_nothing(suite, node, policy),
        ]
    return suite, found


def _repeated(suite: Suite, node: Node) -> Iterator[Problem]:
    first: dict[str, Node] = {}
    for section, entries in suite.named.items():
        for number, entry in enumerate(entries):
            where = node.get(section, number, "id") or node
            before = first.setdefault(entry.id, where)
            if before is not where:
                yield where.problem("P104", f"id {entry.id!r} is also at line {before.line}")


def _missing(suite: Suite, node: Node) -> Iterator[Problem]:
    for keys, name in suite.files:
        where = node.get(*keys) or node
        path = join_path(name, node.path.parent)
        if path is None:
            yield where.problem("P103", f"found {name!r}; expected a path relative to this file")
        elif not is_file(path):
            yield where.problem("T101", f"no file at {path}")


def _unanswerable(suite: Suite, node: Node, policy: Policy) -> Iterator[Problem]:
    if {one.action for one in policy.actions} != {REVIEW}:
        return
    message = "expects match, but review is all that the policy asks for: such a policy answers review"
    # A gap that can never close is no better than a case that can never pass.
    gaps = ((("todo", number, "item"), case.expect) for number, case in enumerate(suite.todo))
    for keys, expect in (*suite.expectations, *gaps):
        if expect is Expectation.MATCH:
            yield (node.get(*keys) or node).problem("T104", message)


def _unknown_action(suite: Suite, node: Node, policy: Policy) -> Iterator[Problem]:
    known = [one.action for one in policy.actions]
    for number, one in enumerate(suite.benign):
        if one.action is not None and one.action not in known:
            message = f"action {one.action!r} is none that the policy asks for{did_you_mean(one.action, known)}"
            yield (node.get("benign", number, "action") or node).problem("T105", message)


def _covers_nothing(suite: Suite, node: Node, policy: Policy) -> Iterator[Problem]:
    concepts = [one.id for one in (*policy.concepts.violating, *policy.concepts.contrast)]
    known = [*concepts, *(one.id for one in (*policy.definition.violates, *policy.definition.allowed))]
    for section, entries in suite.named.items():
        for number, entry in enumerate(entries):
            for place, name in enumerate(entry.covers):
                if name not in known:
                    where = node.get(section, number, "covers", place) or node
                    message = (
                        f"covers {name!r}, which is no concept and no clause of the policy{did_you_mean(name, known)}"
                    )
                    yield where.problem("T105", message)


def _lacking(suites: Sequence[Suite], paths: Sequence[Path]) -> Iterator[Problem]:
    """Silence must not pass: a file without tests, or a policy whose tests all say the same."""
    for suite, path in zip(suites, paths, strict=True):
        if not any(tests for section, tests in suite.named.items() if section != "todo"):
            yield Problem(
                path, 1, 1, "T102", "the file holds no test beside `todo` and `degenerate`; expected at least one"
            )
    if not suites:
        yield Problem(Path(), 0, 0, "T102", "no test file; expected at least one")
        return
    for message, fix in lacking({way for suite in suites for way in ways(suite.model_dump())}):
        yield Problem(paths[0], 1, 1, "T103", f"{message}; {fix}")
