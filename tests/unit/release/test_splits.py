"""Splits share no content, cluster or near-duplicate: what leaks is told with both places; inside one, near-duplicates are one cluster."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from moderation.errors import DataError
from moderation.policy.loader import load_policy
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.release.splits import Pair, alike, counted_once, hold_apart, joined, leaks
from moderation.settings import ImageLimits, Settings
from tests.conftest import ROOT

LONG = "cheap pills without any prescription, delivered to your door within a day"


def rows(folder: Path, name: str, texts: Sequence[tuple[str, str]]) -> tuple[TargetRow, ...]:
    path = folder / name
    path.write_text("".join(json.dumps({"text": t, "target": True, "cluster": c}) + "\n" for t, c in texts))
    return load_manifest(path)


def test_a_near_copy_in_another_manifest_leaks_and_in_the_same_one_counts_once(tmp_path: Path) -> None:
    fit = rows(tmp_path, "fit.jsonl", [("something else entirely", "a"), (LONG, "b")])
    certify = rows(tmp_path, "certify.jsonl", [(LONG + "!", "c"), (LONG.upper(), "d"), ("hello", "e")])
    pairs = alike([*fit, *certify], limits=ImageLimits())
    found = leaks(pairs, certify, why="told")
    assert [(one.line, one.code) for one in found] == [(1, "D008"), (2, "D008")]
    assert found[0].message == (
        f"the text of cluster 'c' is nearly the same as {tmp_path / 'fit.jsonl'}:2, cluster 'b'; told"
    )
    with pytest.raises(DataError) as caught:
        hold_apart(certify, fit, why="told", limits=ImageLimits())
    assert caught.value.problems == tuple(found)
    own = hold_apart(certify, fit[:1], why="told", limits=ImageLimits())
    (once,) = counted_once(own)
    assert (once.line, once.path) == (2, tmp_path / "certify.jsonl")
    assert f"{tmp_path / 'certify.jsonl'}:1, cluster 'c'; they count as one object" in once.message
    counted, pairs = joined(certify, own)
    assert ([row.cluster for row in counted], pairs) == (["c", "c", "e"], own)
    assert [replace(row, cluster="") for row in counted] == [replace(row, cluster="") for row in certify]


def test_rows_of_one_cluster_are_no_pair(tmp_path: Path) -> None:
    found = rows(tmp_path, "certify.jsonl", [(LONG, "a"), (LONG + "!", "a")])
    assert alike(found, limits=ImageLimits()) == []


def test_what_shares_a_content_or_a_cluster_is_told_before_anything_is_read(tmp_path: Path) -> None:
    fit = rows(tmp_path, "fit.jsonl", [(LONG, "a"), ("buy a rifle without a licence today", "b")])
    certify = rows(
        tmp_path, "certify.jsonl", [("hello", "a"), ("buy a rifle without a licence today", "c"), ("x", "d")]
    )
    with pytest.raises(DataError) as caught:
        hold_apart(certify, fit, why="", limits=ImageLimits())
    assert [(one.line, one.code) for one in caught.value.problems] == [(1, "D007"), (2, "D007")]


def test_the_same_bytes_in_two_clusters_are_a_pair_too(tmp_path: Path) -> None:
    # A manifest refuses them (D004); who makes rows in Python, or of two manifests, is not refused.
    twice = [*rows(tmp_path, "a.jsonl", [(LONG, "a")]), *rows(tmp_path, "b.jsonl", [(LONG, "b")])]
    pairs = hold_apart(twice, (), why="", limits=ImageLimits())
    assert [row.cluster for row in joined(twice, pairs)[0]] == ["a", "a"]


@given(st.integers(1, 12), st.data())
def test_joined_clusters_are_the_connected_ones(count: int, data: st.DataObject) -> None:
    places = st.integers(0, count - 1)
    clusters = data.draw(st.lists(st.sampled_from("abcdef"), min_size=count, max_size=count))
    links = data.draw(st.lists(st.tuples(places, places), max_size=12))
    made = [TargetRow(None, str(at), f"{at:064x}", True, name) for at, name in enumerate(clusters)]
    pairs: list[Pair] = [(made[a], made[b]) for a, b in links if clusters[a] != clusters[b]]
    counted, taken = joined(made, pairs)
    names = sorted(set(clusters))
    edges = np.zeros((len(names), len(names)))
    for a, b in pairs:
        edges[names.index(a.cluster), names.index(b.cluster)] = 1
    parts, label = connected_components(edges, directed=False)
    least = [names[int(np.flatnonzero(label == one)[0])] for one in range(parts)]
    assert [row.cluster for row in counted] == [least[label[names.index(name)]] for name in clusters]
    assert len(taken) == len(names) - parts


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


@pytest.mark.parametrize("policy", ["weapons", "insults", "live-animals", "hate"])
def test_no_audit_holds_copies_of_what_was_fitted_or_certified_on(policy: str) -> None:
    data = load_policy(ROOT / "policies" / f"{policy}.yaml", action_names=Settings().actions).data
    fit, certify, audit = (load_manifest(path) for path in (data.fit, data.certify, data.audit) if path)
    others = [*fit, *certify]
    pairs = alike([*others, *audit], limits=ImageLimits())
    assert [one for one in pairs if (one[0] in others) != (one[1] in others)] == []
