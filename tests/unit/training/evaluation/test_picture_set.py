"""Labelled sets: folders and manifests, and everything wrong with them located."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from moderation.errors import DataError, ExitCode
from moderation.training.evaluation.picture_set import open_set, spread
from tests.pair_files import picture


def folder_of(root: Path, **counts: int) -> Path:
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            (root / label / f"{number}.jpg").write_bytes(picture(number))
    return root


def test_a_folder_per_class_is_a_set(tmp_path: Path) -> None:
    found = open_set(folder_of(tmp_path / "clothes", red_hat=2, shoe=1))
    assert (found.name, found.classes) == ("clothes", ("red hat", "shoe"))
    assert [one.cluster for one in found.pictures] == ["red_hat/0.jpg", "red_hat/1.jpg", "shoe/0.jpg"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "set.jsonl",
            '{"path": "a.jpg", "label": "hat", "cluster": "shop"}\n\n{"image": "a.jpg", "label": "red_shoe"}\n',
        ),
        ("set.csv", "path,label,cluster\na.jpg,hat,shop\na.jpg,red shoe,\n"),
    ],
)
def test_a_manifest_is_a_set(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(picture(0))
    (tmp_path / name).write_text(text)
    found = open_set(tmp_path / name)
    assert found.classes == ("hat", "red shoe")
    assert [one.cluster for one in found.pictures] == ["shop", "a.jpg"]


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture(0))
    lines = [
        '{"path": "a.jpg"}',
        "no json",
        '{"path": "gone.jpg", "label": "hat"}',
        '{"label": "hat"}',
        '{"path": "a.jpg", "label": 3}',
    ]
    (tmp_path / "set.jsonl").write_text("\n".join([*lines, '{"path": "a\\u0000", "label": "hat"}']))
    with pytest.raises(DataError) as wrong:
        open_set(tmp_path / "set.jsonl")
    assert [problem.line for problem in wrong.value.problems] == [1, 2, 3, 4, 5, 6]
    assert "label is None; expected a non-empty string" in str(wrong.value)
    assert "'gone.jpg' is not a file" in str(wrong.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "gone", "no such file or folder"),
        (lambda root: folder_of(root / "empty", hat=1, shoe=0), "a class without pictures"),
        (lambda root: folder_of(root / "bare"), "no such file or folder"),
        (lambda root: root, "no folders in it"),
    ],
)
def test_what_is_no_set_is_said(tmp_path: Path, make: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as wrong:
        open_set(make(tmp_path))  # type: ignore[operator]
    assert wrong.value.exit_code == ExitCode.DATA


def test_a_file_that_is_no_manifest_is_said(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text("a")
    with pytest.raises(DataError, match=r"expected a folder of folders named as classes, or a manifest: \.csv"):
        open_set(tmp_path / "set.txt")


def test_a_sample_is_even_over_classes_and_the_same_for_a_seed(tmp_path: Path) -> None:
    whole = open_set(folder_of(tmp_path / "set", many=9, few=2))
    some = spread(whole, 6, seed=1)
    assert Counter(one.label for one in some.pictures) == {"many": 4, "few": 2}
    assert some == spread(whole, 6, seed=1)
    assert some != spread(whole, 6, seed=2)
    assert spread(whole, 100, seed=1) == whole
