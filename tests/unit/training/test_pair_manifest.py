"""JSONL and CSV manifests: fields by any usual name, broken lines counted, pictures read when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.manifest import Manifest
from tests.pair_files import picture


def manifest(path: Path, content: str | bytes, **fields: str) -> Manifest:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Manifest(path, limits=ImageLimits(), **fields)


def read(found: Manifest) -> list[tuple[str, tuple[str, ...]]]:
    return [(pair.key, pair.captions) for pair in map(found.read, range(len(found)))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(picture(number))
    return tmp_path


def test_jsonl_with_every_usual_field(folder: Path) -> None:
    rows = [
        {"image": "pictures/0.jpg", "caption": "nought"},
        {"path": "pictures/1.jpg", "captions": ["one", "ein"]},
        {"file_name": "pictures/2.jpg", "text": "two"},
    ]
    found = manifest(folder / "a.jsonl", "\n\n".join(map(json.dumps, rows)))
    assert read(found) == [
        ("pictures/0.jpg", ("nought",)),
        ("pictures/1.jpg", ("one", "ein")),
        ("pictures/2.jpg", ("two",)),
    ]
    assert found.read(1).image == picture(1)


def test_csv_with_quotes_commas_and_a_mark_of_its_order(folder: Path) -> None:
    content = '\ufeffimage,caption\npictures/0.jpg,"nought, or ""nil"",\nin two lines"\n\npictures/1.jpg,one,more\n'
    assert read(manifest(folder / "a.csv", content)) == [
        ("pictures/0.jpg", ('nought, or "nil",\nin two lines',)),
        ("pictures/1.jpg", ("one",)),
    ]
    assert read(manifest(folder / "a.tsv", "path\ttext\npictures/2.jpg\ta, b\n")) == [("pictures/2.jpg", ("a, b",))]


def test_fields_can_be_named(folder: Path) -> None:
    row = {"image": "wrong", "photo": "pictures/0.jpg", "caption": "wrong", "alt": ["right"]}
    found = manifest(folder / "a.jsonl", json.dumps(row), image_field="photo", caption_field="alt")
    assert read(found) == [("pictures/0.jpg", ("right",))]


def test_broken_lines_are_counted_by_reason(folder: Path) -> None:
    good = json.dumps({"image": "pictures/0.jpg", "caption": "nought"})
    lines = [
        good.encode(),
        b"{",
        b"[1]",
        b"\xff",
        b'{"caption": "no picture"}',
        b'{"image": 3, "caption": "a"}',
        b'{"image": "a.jpg"}',
        b'{"image": "a.jpg", "caption": ""}',
        b'{"image": "a.jpg", "caption": 3}',
        b'{"image": "a.jpg", "caption": "\\ud800"}',
        json.dumps({"image": "a.jpg", "caption": "a" * 10_001}).encode(),
    ]
    found = manifest(folder / "a.jsonl", b"\n".join(lines))
    assert len(found) == 1
    assert found.broken.counts == {
        "damaged_json": 3,
        "no_picture": 2,
        "no_caption": 1,
        "empty_caption": 1,
        "damaged_caption": 2,
        "long_caption": 1,
    }
    assert found.broken.keys["damaged_json"] == ("a.jsonl:2", "a.jsonl:3", "a.jsonl:4")


def test_broken_csv_rows_are_counted_by_reason(folder: Path) -> None:
    huge = "a" * 200_000
    content = f"image,caption\npictures/0.jpg,a\npictures/1.jpg,{huge}\npictures/1.jpg\n,b\npictures/1.jpg,".encode()
    found = manifest(folder / "a.csv", content + b"\xff\npictures/2.jpg,b\n")
    assert read(found) == [("pictures/0.jpg", ("a",)), ("pictures/2.jpg", ("b",))]
    assert found.broken.counts == {"damaged_csv": 1, "no_caption": 1, "no_picture": 1, "damaged_caption": 1}


def test_a_picture_that_cannot_be_read_is_an_error_of_its_row(folder: Path) -> None:
    rows = [{"image": name, "caption": "a"} for name in ("nothere.jpg", "pictures", "a\0b")]
    found = manifest(folder / "a.jsonl", "\n".join(map(json.dumps, rows)))
    for row in range(3):
        with pytest.raises(ItemError, match="unreadable"):
            found.read(row)


def test_a_picture_beyond_the_limit_is_not_read_whole(folder: Path) -> None:
    path = folder / "a.csv"
    path.write_text("image,caption\npictures/0.jpg,a\n")
    with pytest.raises(ItemError, match="too_large"):
        Manifest(path, limits=ImageLimits(max_bytes=100)).read(0)


@pytest.mark.parametrize("content", ["", "image,caption\n", "a,b\n1,2\n"])
def test_a_manifest_without_pairs_is_refused(folder: Path, content: str) -> None:
    with pytest.raises(TrainingError, match="no pair in it; expected records with image or path"):
        manifest(folder / "a.csv", content)


def test_a_missing_manifest_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match="No such file"):
        Manifest(folder / "a.csv", limits=ImageLimits())
