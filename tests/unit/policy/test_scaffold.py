"""A new policy: everything written loads, lints clean and is disjoint, and nothing that is there is overwritten."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from moderation.errors import PolicyError
from moderation.policy.lint import lint
from moderation.policy.loader import load_policy
from moderation.policy.manifest import disjoint, load_manifest
from moderation.policy.scaffold import scaffold
from tests.policy_text import ACTIONS

TODAY = dt.date(2026, 11, 23)


def test_everything_that_is_written_is_right(tmp_path: Path) -> None:
    files = scaffold("spam-flyers", tmp_path / "policies", today=TODAY)
    assert files[0] == tmp_path / "policies" / "spam-flyers.yaml"
    assert all(path.is_file() for path in files)
    assert "data/background.jsonl" in files[0].read_text(encoding="utf-8")
    policy = load_policy(files[0], action_names=ACTIONS)
    assert lint(policy, today=TODAY, languages=["en"], context_length=32, count_tokens=lambda t: len(t) // 3 + 2) == []
    assert policy.data.fit is not None
    assert policy.data.certify is not None
    fit, certify = load_manifest(policy.data.fit), load_manifest(policy.data.certify)
    assert disjoint(fit, certify) == []
    assert [row.target for row in fit] == [row.target for row in certify] == [True, False]
    assert all(row.read().content.startswith(b"\x89PNG") for row in (*fit, *certify))


@pytest.mark.parametrize("name", ["a", "counterfeit-bags", "abcdefghijkl-mnopqrstuvw"])
def test_comments_stand_in_one_column_whatever_the_id(name: str, tmp_path: Path) -> None:
    text = scaffold(name, tmp_path)[0].read_text(encoding="utf-8")
    assert {line.index(" # ") for line in text.splitlines()[1:] if " # " in line} == {28}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    scaffold("spam", tmp_path)
    (tmp_path / "spam.yaml").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(PolicyError, match="is there already") as caught:
        scaffold("spam", tmp_path)
    assert (tmp_path / "tests" / "spam.yaml") in {one.path for one in caught.value.problems}
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_policy_stands_beside_the_first(tmp_path: Path) -> None:
    assert (tmp_path / "policy.schema.json") in scaffold("one", tmp_path)
    assert (tmp_path / "policy.schema.json") not in scaffold("two", tmp_path)


@pytest.mark.parametrize("policy_id", ["", "Spam", "../x", "a b", "a/b", "-a", "7"])
def test_an_id_that_is_no_slug_is_refused(tmp_path: Path, policy_id: str) -> None:
    with pytest.raises(ValueError, match="expected lower-case"):
        scaffold(policy_id, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(PolicyError, match="cannot be written"):
        scaffold("spam", tmp_path / "file")
