"""Manifests: what a row says arrives, what is wrong is located, and content that changed is not read as the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moderation.errors import DataError, Problem
from moderation.item import Modality, content_digest
from moderation.policy.manifest import TargetRow, disjoint, load_manifest, shared

PICTURE = b"the bytes of a picture"
DIGEST = content_digest(PICTURE)
FILE_ROW = {"path": "pictures/a.png", "sha256": DIGEST, "target": True, "cluster": "a"}
TEXT_ROW = {"text": "hello", "target": False, "cluster": "b"}


def manifest(folder: Path, *rows: object, name: str = "fit.jsonl") -> Path:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    (folder / "pictures" / "a.png").write_bytes(PICTURE)
    path = folder / name
    path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in rows), encoding="utf-8")
    return path


def refused(path: Path) -> tuple[Problem, ...]:
    with pytest.raises(DataError) as caught:
        load_manifest(path)
    return caught.value.problems


def test_every_field_arrives(tmp_path: Path) -> None:
    more = {"attributes": {"style": "flat"}, "source": "drawn", "licence": "CC0-1.0"}
    path = manifest(tmp_path, FILE_ROW | more, "", TEXT_ROW)
    first, second = load_manifest(path)
    assert (first.path, first.text, first.sha256) == (tmp_path / "pictures" / "a.png", None, DIGEST)
    assert (first.target, first.cluster, first.attributes) == (True, "a", {"style": "flat"})
    assert (first.source, first.licence, first.manifest, first.line) == ("drawn", "CC0-1.0", path, 1)
    assert (first.modality, first.read().content, first.read().modality) == (Modality.IMAGE, PICTURE, Modality.IMAGE)
    assert (second.modality, second.read().content, second.line) == (Modality.TEXT, b"hello", 3)
    assert second.sha256 == content_digest(b"hello")


@pytest.mark.parametrize("name", ["a.txt", "NOTE.TXT"])
def test_a_txt_file_is_a_text(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PICTURE)
    (row,) = load_manifest(manifest(tmp_path, FILE_ROW | {"path": name}))
    assert row.read().modality is Modality.TEXT


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        ("{", "D002", "not JSON"),
        ('{"a": 1, "a": 2}', "D002", "twice"),
        ('{"target": NaN}', "D002", "NaN"),
        ("[" * 100_000, "D002", "not a row"),
        ("[1]", "D003", "one JSON object"),
        (TEXT_ROW | {"targt": True}, "D003", "did you mean 'target'?"),
        (TEXT_ROW | {"target": "yes"}, "D003", "expected true or false"),
        (TEXT_ROW | {"target": 1}, "D003", "expected true or false"),
        (TEXT_ROW | {"text": ""}, "D003", "text"),
        (TEXT_ROW | {"text": "\ud800"}, "D003", "UTF-8"),
        (TEXT_ROW | {"cluster": ""}, "D003", "cluster"),
        (TEXT_ROW | {"attributes": {"a": 1}}, "D003", "attributes.a"),
        (TEXT_ROW | {"sha256": DIGEST}, "D003", "the text has"),
        (TEXT_ROW | {"path": "a.png"}, "D003", "either path or text"),
        ({"target": True, "cluster": "a"}, "D003", "either path or text"),
        ({"text": "x", "target": True}, "D003", "cluster: is missing"),
        (FILE_ROW | {"sha256": "00"}, "D003", "sha256"),
        (FILE_ROW | {"sha256": None}, "D003", "a file needs its digest"),
        (FILE_ROW | {"path": "/etc/passwd"}, "D003", "relative to the manifest"),
        (FILE_ROW | {"path": "pictures/b.png"}, "D005", "is not a file"),
    ],
)
def test_a_wrong_row_is_refused_at_its_line(tmp_path: Path, row: object, code: str, said: str) -> None:
    (problem,) = refused(manifest(tmp_path, {"text": "fine", "target": True, "cluster": "z"}, row))
    assert (problem.line, problem.code) == (2, code)
    assert said in problem.message


def test_all_wrong_rows_are_refused_at_once(tmp_path: Path) -> None:
    path = manifest(tmp_path, "{", TEXT_ROW, "[]", TEXT_ROW | {"target": True})
    problems = refused(path)
    assert [(one.line, one.code) for one in problems] == [(1, "D002"), (3, "D003"), (4, "D004")]
    assert "line 2, with another target" in problems[2].message


def test_a_manifest_must_be_there_and_hold_rows(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.jsonl", tmp_path, manifest(tmp_path)):
        assert [one.code for one in refused(path)] == ["D001"]


def test_bytes_that_are_no_text_are_located(tmp_path: Path) -> None:
    path = tmp_path / "fit.jsonl"
    path.write_bytes(json.dumps(TEXT_ROW).encode() + b'\n{"text": "\xff"}\n')
    (problem,) = refused(path)
    assert (problem.line, problem.column, problem.code) == (2, 11, "D002")


def test_content_is_checked_against_its_digest_when_it_is_read(tmp_path: Path) -> None:
    path = manifest(tmp_path, TEXT_ROW, FILE_ROW)
    _, row = load_manifest(path)
    (tmp_path / "pictures" / "a.png").write_bytes(b"another picture")
    with pytest.raises(DataError, match=rf"fit\.jsonl:2:1: D006: .* the manifest says {DIGEST}"):
        row.read()
    (tmp_path / "pictures" / "a.png").unlink()
    with pytest.raises(DataError, match="D005"):
        row.read()


def test_files_need_not_be_there_where_that_is_not_asked(tmp_path: Path) -> None:
    path = manifest(tmp_path, FILE_ROW | {"path": "pictures/b.png"})
    assert len(load_manifest(path, check_files=False)) == 1


def row(text: str, cluster: str, line: int = 1) -> TargetRow:
    digest = content_digest(text.encode())
    return TargetRow(None, text, digest, target=True, cluster=cluster, manifest=Path("certify.jsonl"), line=line)


def test_splits_that_share_nothing_are_disjoint() -> None:
    assert disjoint([row("a", "x")], [row("b", "y")]) == []


def test_splits_that_share_content_or_a_cluster_are_not() -> None:
    problems = disjoint([row("a", "x"), row("b", "y")], [row("a", "z", 1), row("c", "y", 2), row("d", "w", 3)])
    assert [(one.line, one.code) for one in problems] == [(1, "D007"), (2, "D007")]
    assert "content (there of cluster 'x') is also in certify.jsonl:1" in problems[0].message
    assert "cluster 'y'" in problems[1].message


def test_every_two_manifests_of_a_policy_are_compared() -> None:
    manifests = [[row("a", "x")], [row("b", "y")], [row("c", "y", 3), row("d", "x", 4)]]
    assert [one.line for one in shared(manifests)] == [4, 3]
    assert shared([]) == shared(manifests[:2]) == []


ITEM_ROW = {"parts": [{"path": "pictures/a.png", "sha256": DIGEST}, {"text": "hello"}], "target": True, "cluster": "c"}


def test_an_item_of_several_parts_is_read_whole_and_known_by_every_digest(tmp_path: Path) -> None:
    (row,) = load_manifest(manifest(tmp_path, ITEM_ROW | {"attributes": {"surface": "listing"}}))
    whole = content_digest(f"{DIGEST}\n{content_digest(b'hello')}".encode())
    assert (row.path, row.text, row.sha256) == (None, None, whole)
    assert row.digests == (whole, DIGEST, content_digest(b"hello"))
    item = row.item()
    assert (item.id, item.attributes) == (whole, {"surface": "listing"})
    assert [(part.modality, part.content) for part in item.parts] == [
        (Modality.IMAGE, PICTURE), (Modality.TEXT, b"hello")
    ]  # fmt: skip
    assert (row.files, row.modality, row.what) == (
        (tmp_path / "pictures" / "a.png",),
        Modality.IMAGE,
        "an item of 2 parts",
    )
    with pytest.raises(DataError, match="D003: an item of 2 parts: expected one part"):
        row.read()


def test_a_row_of_one_part_is_the_item_it_always_was(tmp_path: Path) -> None:
    (row,) = load_manifest(manifest(tmp_path, FILE_ROW))
    assert row.digests == (row.sha256,) == (DIGEST,)
    assert row.item().parts == (row.read(),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": [{"text": "alone"}]}, "parts: expected two or more"),
        ({"text": "beside"}, "neither path nor text beside them"),
        ({"sha256": "0" * 64}, "sha256: the parts have"),
        ({"parts": [{"text": "a"}, {"path": "pictures/a.png"}]}, "parts.2: sha256: is missing"),
        ({"parts": [{"text": "a"}, {}]}, "parts.2: expected either path or text"),
        ({"parts": [{"text": "a"}, {"text": "b", "target": True}]}, "target"),
        ({"parts": [{"text": "a"}] * 101}, "parts"),
    ],
)
def test_a_wrong_item_is_located(change: dict[str, object], said: str, tmp_path: Path) -> None:
    (problem,) = refused(manifest(tmp_path, TEXT_ROW, ITEM_ROW | change))
    assert (problem.line, problem.code) == (2, "D003")
    assert said in problem.message


def test_every_part_must_be_there_and_be_what_the_manifest_says(tmp_path: Path) -> None:
    path = manifest(tmp_path, ITEM_ROW)
    (tmp_path / "pictures" / "a.png").write_bytes(b"another")
    with pytest.raises(DataError, match="D006"):
        load_manifest(path)[0].item()
    (tmp_path / "pictures" / "a.png").unlink()
    assert [problem.code for problem in refused(path)] == ["D005"]


def test_a_part_that_stands_in_another_manifest_is_shared(tmp_path: Path) -> None:
    first = load_manifest(manifest(tmp_path, FILE_ROW))
    second = load_manifest(manifest(tmp_path, ITEM_ROW, name="certify.jsonl"))
    (problem,) = disjoint(first, second)
    assert (problem.code, problem.line) == ("D007", 1)
    assert [one.code for one in disjoint(second, first)] == ["D007"]
