"""Which ways a policy's test files go: what must be flagged, and what must not. The one rule of lint and of those that run the tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from moderation.policy.yaml_source import plain, read_yaml


class Expected(StrEnum):
    """Which way a test goes."""

    FLAGGED = "flagged"
    ALLOWED = "allowed"


WAY_OF = {
    "match": Expected.FLAGGED,
    "review": Expected.FLAGGED,
    "at_least review": Expected.FLAGGED,
    "no_match": Expected.ALLOWED,
    "at_most review": Expected.ALLOWED,
}
_NEITHER = ("error", "no_match or error")
_EXPECTING = {"cases": ("expect",), "pairs": ("a_expect", "b_expect"), "capabilities": ("expect",)}
_LACKS = {
    Expected.FLAGGED: (
        "no test says what must be flagged: a policy that flags nothing would pass",
        "add a case, a pair or a capability that expects review or match",
    ),
    Expected.ALLOWED: (
        "no test says what must not be flagged: a policy that flags everything would pass",
        "add a case, a pair or a capability that expects no_match, or a benign set with a cap below 1",
    ),
}


def expected(path: Path) -> frozenset[Expected] | None:
    """Which ways the tests of a file go; None where it cannot be read."""
    node, problems = read_yaml(path)
    if node is None or problems or not isinstance(node.value, dict):
        return None
    return ways(plain(node))


def ways(suite: Mapping[str, Any]) -> frozenset[Expected]:
    """Which ways the tests of a suite go, as plain values that nobody has checked yet."""
    return frozenset(_ways(suite))


def lacking(seen: Collection[Expected]) -> Iterator[tuple[str, str]]:
    """What tests that go these ways leave unsaid, each with its cure; nothing where they go both ways."""
    return (_LACKS[way] for way in Expected if way not in seen)


def _ways(suite: Mapping[str, Any]) -> Iterator[Expected]:
    """Known gaps prove nothing, and no more do sets that any policy passes: a floor of 0, a cap of 1."""
    for section, keys in _EXPECTING.items():
        for test in _tests(suite, section):
            words = [test.get(key) for key in keys if test.get("floor") != 0]
            yield from (way for word in words for way in _ways_of(word))
    for test in _tests(suite, "benign"):
        cap = test.get("cap")
        if isinstance(cap, int | float) and cap < 1:
            yield Expected.ALLOWED


def _ways_of(word: Any) -> Iterable[Expected]:
    """Which way an expectation goes; a misspelt one, which is told where it stands, may mean either."""
    if word is None or word in _NEITHER:
        return ()
    return (WAY_OF[word],) if isinstance(word, str) and word in WAY_OF else Expected


def _tests(suite: Mapping[str, Any], section: str) -> list[Mapping[str, Any]]:
    tests = suite.get(section)
    return [one for one in tests if isinstance(one, dict)] if isinstance(tests, list | tuple) else []
