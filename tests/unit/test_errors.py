from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from moderation import errors
from moderation.errors import FingerprintMismatchError, ModerationError, PolicyError, Problem

CLASSES = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, ModerationError) and c.__name__[0] != "_"
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_the_tree_in_the_docstring_is_complete(cls: type[ModerationError]) -> None:
    assert cls.__name__ in (errors.__doc__ or "")


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)


def test_a_policy_error_shows_all_problems_in_file_order() -> None:
    late = Problem(Path("b.yaml"), 1, 1, "P101", "no owner")
    early = Problem(Path("a.yaml"), 9, 3, "P001", "unknown key")
    error = PolicyError([late, early])
    assert error.problems == (early, late)
    assert str(error) == "a.yaml:9:3: P001: unknown key\nb.yaml:1:1: P101: no owner"


def test_a_mismatch_names_both_fingerprints() -> None:
    error = FingerprintMismatchError(policy="weapons", expected="aaa", found="bbb")
    assert (error.policy, error.expected, error.found) == ("weapons", "aaa", "bbb")
    assert "aaa" in str(error)
    assert "bbb" in str(error)
