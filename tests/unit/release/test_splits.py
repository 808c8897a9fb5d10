"""Splits share no near-duplicate: what leaks is told with both places, what counts twice inside one manifest too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from moderation.policy.manifest import TargetRow, load_manifest
from moderation.release.splits import alike, counted_twice, leaks
from moderation.settings import ImageLimits
from tests.conftest import ROOT

LONG = "cheap pills without any prescription, delivered to your door within a day"


def rows(folder: Path, name: str, texts: Sequence[tuple[str, str]]) -> tuple[TargetRow, ...]:
    path = folder / name
    path.write_text("".join(json.dumps({"text": t, "target": True, "cluster": c}) + "\n" for t, c in texts))
    return load_manifest(path)


def test_a_near_copy_in_another_manifest_leaks_and_in_the_same_one_counts_twice(tmp_path: Path) -> None:
    fit = rows(tmp_path, "fit.jsonl", [("something else entirely", "a"), (LONG, "b")])
    certify = rows(tmp_path, "certify.jsonl", [(LONG + "!", "c"), (LONG.upper(), "d"), ("hello", "e")])
    pairs = alike([*fit, *certify], limits=ImageLimits())
    found = leaks(pairs, certify, why="told")
    assert [(one.line, one.code) for one in found] == [(1, "D008"), (2, "D008")]
    assert found[0].message == (
        f"the text of cluster 'c' is nearly the same as {tmp_path / 'fit.jsonl'}:2, cluster 'b'; told"
    )
    (twice,) = counted_twice(pairs, certify)
    assert (twice.line, twice.path) == (2, tmp_path / "certify.jsonl")
    assert f"{tmp_path / 'certify.jsonl'}:1, cluster 'c'" in twice.message
    assert counted_twice(pairs, fit) == []


def test_one_cluster_and_the_same_bytes_are_told_elsewhere(tmp_path: Path) -> None:
    fit = rows(tmp_path, "fit.jsonl", [(LONG, "a"), ("buy a rifle without a licence today", "b")])
    certify = rows(tmp_path, "certify.jsonl", [(LONG + "!", "a"), ("buy a rifle without a licence today", "c")])
    assert alike([*fit, *certify], limits=ImageLimits()) == []


def test_a_file_that_is_gone_is_like_nothing(tmp_path: Path) -> None:
    line = {"path": "gone.webp", "sha256": "0" * 64, "target": True, "cluster": "a"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    assert alike(load_manifest(tmp_path / "m.jsonl", check_files=False), limits=ImageLimits()) == []


def test_the_shipped_manifests_hold_no_near_duplicates() -> None:
    # Audits vary one thing on purpose: their rows are held against the other splits by the next test.
    paths = [one for one in (ROOT / "policies" / "data").glob("*.jsonl") if not one.name.endswith(".audit.jsonl")]
    found = [row for path in sorted(paths) for row in load_manifest(path)]
    once = {row.sha256: row for row in found}
    pairs = alike(list(once.values()), limits=ImageLimits())
    assert [(one.path, other.path) for one, other in pairs] == []


@pytest.mark.parametrize("policy", ["weapons", "insults"])
def test_no_audit_holds_copies_of_what_was_fitted_or_certified_on(policy: str) -> None:
    data = ROOT / "policies" / "data"
    audit = load_manifest(data / {"weapons": "people.audit.jsonl"}.get(policy, f"{policy}.audit.jsonl"))
    others = [row for use in ("fit", "certify") for row in load_manifest(data / f"{policy}.{use}.jsonl")]
    pairs = alike([*others, *audit], limits=ImageLimits())
    assert [one for one in pairs if (one[0] in others) != (one[1] in others)] == []
