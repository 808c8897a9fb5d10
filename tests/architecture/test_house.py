"""Sizes, names and loose ends: what keeps the code readable."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import moderation
from tests.conftest import ROOT

CODE = sorted((ROOT / "moderation").rglob("*.py"))
EVERYTHING = [
    *CODE,
    *(p for folder in ("tests", "examples", "plugins", "benchmarks") for p in (ROOT / folder).rglob("*.py")),
]
CATCH_ALL = {"utils", "util", "common", "core", "helpers", "misc"}


def functions() -> list[tuple[int, str]]:
    found = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                found.append((node.end_lineno - node.lineno + 1, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"))
    return sorted(found)


def test_the_tail_of_function_sizes_is_short() -> None:
    sizes = functions()
    assert sizes[len(sizes) // 2][0] < 15
    assert sizes[int(len(sizes) * 0.99)][0] <= 60, sizes[-5:]


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_has_one_noun_and_opens_with_its_purpose(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stem not in CATCH_ALL
    assert path.parent.name not in CATCH_ALL
    assert text.count("\n") <= 320
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_public_names_have_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    assert [n.name for n in public if not ast.get_docstring(n)] == []


def test_tests_may_share_a_name() -> None:
    """Pytest imports a test whose folder is no package by its file's name alone, which then no other may have."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [one for one in folders if not (one / "__init__.py").exists()] == []


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_loose_ends(path: Path) -> None:
    words = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"])
    assert not re.search(rf"\b({words})\b", path.read_text(encoding="utf-8"))


def test_a_page_writes_no_plural_by_hand() -> None:
    """`1 items` is what a number with a noun behind it comes to; the filter `counted` knows both. Words that end in s and are no plurals are not said there."""
    pages = sorted((ROOT / "moderation").rglob("*.j2"))
    assert len(pages) > 5
    by_hand = re.compile(r"\| (?:count|length) \}\}(?: [a-z]+)? [a-z]*[a-rt-z]s\b")
    assert {page.name: found for page in pages if (found := by_hand.findall(page.read_text(encoding="utf-8")))} == {}


def test_pickle_is_used_nowhere_but_on_the_kits_own_bytes() -> None:
    for path in CODE:
        if path == ROOT / "moderation" / "testing" / "unit.py":
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(import|from) (pickle|joblib|dill|cloudpickle|marshal)\b", text, re.MULTILINE), path


def test_the_version_has_its_place_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text or f"## [{moderation.__version__}]" in text
