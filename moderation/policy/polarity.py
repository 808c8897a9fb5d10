"""What a policy's test files expect, as far as lint needs it; `release` reads them in full and runs them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from moderation.policy.yaml_source import Node, read_yaml


class Expected(StrEnum):
    """Which way a case goes."""

    FLAGGED = "flagged"
    ALLOWED = "allowed"


_WORDS = {
    "match": Expected.FLAGGED,
    "review": Expected.FLAGGED,
    "at_least review": Expected.FLAGGED,
    "no_match": Expected.ALLOWED,
    "at_most review": Expected.ALLOWED,
}


def expected(path: Path) -> frozenset[Expected] | None:
    """Which ways the cases of a test file go; None where it cannot be read."""
    node, problems = read_yaml(path)
    if node is None or problems or not isinstance(node.value, dict):
        return None
    return frozenset(_WORDS[word] for word in _expectations(node) if word in _WORDS)


def _expectations(node: Node) -> Iterator[str]:
    """What cases and pairs expect; those that are known to fail and say so elsewhere prove nothing."""
    for section, keys in (("cases", ("expect",)), ("pairs", ("a_expect", "b_expect"))):
        below = node.child(section)
        for case in below.items() if below else ():
            for key in keys:
                value = case.child(key)
                text = value.text() if value else None
                if text is not None:
                    yield text
