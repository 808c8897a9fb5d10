"""Places to pairs: patterns, mixtures, and every mistake said at once."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from moderation.errors import TrainingError
from moderation.training.pairs import Pairs
from moderation.training.places import open_pairs
from tests.pair_files import picture, tar_bytes, write_shard

datasets.disable_progress_bars()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for number in range(3):
        write_shard(tmp_path / "deep" / f"{number:02d}.tar", 10 * number, 2)
    return tmp_path


def keys(found: Pairs) -> list[str]:
    return [found.read(row).key for row in range(len(found))]


ALL = [f"{shard:02d}.tar/{10 * shard + number:06d}" for shard in range(3) for number in range(2)]


@pytest.mark.parametrize(
    "place", ["", "deep", "deep/{00..02}.tar", "deep/*.tar", "deep/0[012].tar", "deep/0{0,1,2}.tar"]
)
def test_shards_by_folder_and_pattern(folder: Path, place: str) -> None:
    assert keys(open_pairs([folder / place])) == ALL


def test_a_file_whose_name_looks_like_a_pattern(folder: Path) -> None:
    write_shard(folder / "a{0..1}[x].tar", 0, 1)
    assert keys(open_pairs([folder / "a{0..1}[x].tar"])) == ["a{0..1}[x].tar/000000"]


def test_sources_of_every_kind_in_the_order_given(folder: Path) -> None:
    (folder / "a.jpg").write_bytes(picture(7))
    (folder / "list.csv").write_text("image,caption\na.jpg,a\n,b\n")
    rows = datasets.Dataset.from_dict({"image": [picture(8)], "text": ["c"]})
    rows.save_to_disk(folder / "saved")
    found = open_pairs([folder / "saved", folder / "list.csv", folder / "deep" / "01.tar"])
    assert keys(found) == ["saved/0", "a.jpg", *ALL[2:4]]
    assert [found.key(row) for row in range(4)] == keys(found)
    assert [found.read(row).image for row in range(2)] == [picture(8), picture(7)]
    assert found.broken.counts == {"no_picture": 1}
    with pytest.raises(IndexError):
        found.read(4)


def test_all_that_is_wrong_is_said_at_once(folder: Path) -> None:
    (folder / "empty.tar").write_bytes(b"")
    (folder / "captions.tar").write_bytes(tar_bytes({"1.txt": "a", "2.txt": "b"}))
    (folder / "notes.md").write_text("")
    (folder / "bare").mkdir()
    (folder / "bad.csv").write_text("x,y\n1,2\n")
    places = ["deep/{01..04}.tar", "empty.tar", "captions.tar", "notes.md", "bare", "bad.csv", "deep/x*.tar", "gone"]
    with pytest.raises(TrainingError) as caught:
        open_pairs([folder / place for place in places])
    lines = sorted(str(caught.value).replace(str(folder) + "/", "").splitlines())
    starts = [
        "bad.csv: no pair",
        "bare: no *.tar",
        "captions.tar: no pair",
        "deep/03.tar: No such",
        "deep/04.tar: No such",
    ]
    starts += ["deep/x*.tar: no file fits", "empty.tar: the file is empty", "gone: no such file", "notes.md: not known"]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    assert "2 no_picture (captions.tar/1, captions.tar/2)" in lines[2]


def test_of_a_thousand_mistakes_fifty_are_said(folder: Path) -> None:
    with pytest.raises(TrainingError, match="… and 951 more"):
        open_pairs([folder / "{0000..1000}.tar"])


def test_more_broken_records_than_whole_ones_are_refused(folder: Path) -> None:
    (folder / "list.csv").write_text("image,caption\n" + "a.jpg,a\n" * 2 + "a.jpg,\n" * 3)
    with pytest.raises(TrainingError, match="3 of 5 records are broken; expected at most half"):
        open_pairs([folder / "list.csv"])


def test_no_places_are_refused() -> None:
    with pytest.raises(TrainingError, match="no pairs to train on"):
        open_pairs([])


def test_indexes_go_where_they_are_told_when_the_folder_cannot_hold_them(folder: Path) -> None:
    (folder / "deep" / ".00.tar.index").mkdir()
    assert len(open_pairs([folder / "deep"], index_folder=folder / "indexes")) == 6
    assert len(list((folder / "indexes").iterdir())) == 1
