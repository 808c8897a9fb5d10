"""Manifests of exemplars: each holds one class, and a row of the other is a located problem."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moderation.errors import DataError
from moderation.policy.manifest import load_exemplars


def manifest(path: Path, *targets: bool) -> Path:
    rows = [
        {"text": f"{path.stem} {at}", "target": one, "cluster": f"{path.stem} {at}"} for at, one in enumerate(targets)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_either_side_may_be_left_out(tmp_path: Path) -> None:
    violating, contrast = manifest(tmp_path / "yes.jsonl", True, True), manifest(tmp_path / "no.jsonl", False)
    assert [row.target for row in load_exemplars(violating, contrast)] == [True, True, False]
    assert [row.target for row in load_exemplars(None, contrast)] == [False]
    assert load_exemplars(None, None) == ()


def test_a_row_of_the_other_class_is_named(tmp_path: Path) -> None:
    violating, contrast = manifest(tmp_path / "yes.jsonl", True, False), manifest(tmp_path / "no.jsonl", True)
    with pytest.raises(DataError) as raised:
        load_exemplars(violating, contrast)
    found = [(one.path.name, one.line, one.code, one.message) for one in raised.value.problems]
    assert found == [
        ("no.jsonl", 1, "D003", "target: found true among the contrast exemplars; expected false"),
        ("yes.jsonl", 2, "D003", "target: found false among the violating exemplars; expected true"),
    ]
