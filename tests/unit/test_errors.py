from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from moderation import errors
from moderation.errors import FingerprintMismatchError, ModerationError, PolicyError, Problem, counted
from moderation.policy.lint import Finding

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


def test_a_number_stands_with_its_noun() -> None:
    assert [counted(n, "file") for n in (0, 1, 2_000)] == ["0 files", "1 file", "2,000 files"]
    assert [counted(n, "policy", "policies") for n in (1, 2)] == ["1 policy", "2 policies"]


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\t", "\x1b[2K", "\u202e"]
)
def test_no_name_makes_a_line_of_its_own(end: str) -> None:
    forged = f"a.yaml:1:1: P001: fine{end}b.yaml"
    problem = Problem(Path(forged), 1, 1, "P001", f"{forged!s} is not a file")
    finding = Finding(Path(forged), 1, 1, "L001", "error", forged, forged)
    for text in (str(PolicyError([problem])), str(finding)):
        assert len(text.splitlines()) == 1
        assert end not in text
        assert f"fine\\u{ord(end[0]):04x}" in text


def test_a_mismatch_names_both_fingerprints() -> None:
    error = FingerprintMismatchError(policy="weapons", expected="aaa", found="bbb")
    assert (error.policy, error.expected, error.found) == ("weapons", "aaa", "bbb")
    assert "aaa" in str(error)
    assert "bbb" in str(error)
