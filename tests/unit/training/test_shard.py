"""Tar shards: what is found in them, what is read, and when an index is made anew."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.shard import Shard
from moderation.training.shard_index import open_index
from tests.pair_files import picture, tar_bytes, write_shard


def shard(path: Path, content: bytes | None = None, **limits: int) -> Shard:
    if content is not None:
        path.write_bytes(content)
    return Shard(open_index(path, cache=path.parent / "cache"), limits=ImageLimits(**limits))


def test_members_of_one_key_are_one_pair(tmp_path: Path) -> None:
    found = shard(write_shard(tmp_path / "00.tar", 5, 3))
    assert len(found) == 3
    pair = found.read(1)
    assert (pair.key, pair.image, pair.captions) == ("00.tar/000006", picture(6), ("a picture, 6", "number 6"))
    with pytest.raises(IndexError):
        found.read(3)
    with pytest.raises(IndexError):
        found.read(-1)


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_of_every_kind(tmp_path: Path, kind: int) -> None:
    deep = "folder.v2/" * 9 + "0007"
    long = "x" * (90 if kind == tarfile.USTAR_FORMAT else 300)
    names = ["./plain", deep, long, "größe/grün"]
    members = {f"{name}.{end}": picture(1) if end == "JPG" else "words" for name in names for end in ("JPG", "Txt")}
    found = shard(tmp_path / "a.tar", tar_bytes(members, format=kind))
    assert [found.key(row) for row in range(4)] == [f"a.tar/{name.removeprefix('./')}" for name in names]
    assert all(found.read(row).image == picture(1) for row in range(4))


def test_folders_links_and_hidden_files_are_no_records(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind in (("0.jpg", tarfile.DIRTYPE), ("1.jpg", tarfile.SYMTYPE), ("2.jpg", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
    members = {
        "._3.jpg": b"x",
        "._3.txt": "x",
        "d/.4.jpg": b"x",
        "README": "no key",
        "5.jpg": picture(5),
        "5.txt": "five",
    }
    found = shard(tmp_path / "a.tar", out.getvalue()[:1536] + tar_bytes(members))
    assert [found.key(row) for row in range(len(found))] == ["a.tar/5"]
    assert found.broken.total == 0


def test_the_plain_picture_comes_before_its_mask(tmp_path: Path) -> None:
    found = shard(tmp_path / "a.tar", tar_bytes({"1.mask.png": b"mask", "1.png": b"picture", "1.txt": "words"}))
    assert found.read(0).image == b"picture"


def test_json_captions_of_every_shape(tmp_path: Path) -> None:
    shapes = [{"caption": "a"}, {"captions": ["a", " b ", "a", ""]}, {"text": "a"}, ["a", "b"], "a"]
    members = {}
    for number, shape in enumerate(shapes):
        members |= {f"{number}.png": b"p", f"{number}.json": json.dumps(shape)}
    found = shard(tmp_path / "a.tar", tar_bytes(members))
    assert [found.read(row).captions for row in range(5)] == [("a",), ("a", "b"), ("a",), ("a", "b"), ("a",)]


@pytest.mark.parametrize(
    ("captions", "reason"),
    [
        ({"txt": ""}, "empty_caption"),
        ({"txt": " \n"}, "empty_caption"),
        ({"txt": "a" * 10_001}, "long_caption"),
        ({"txt": "é" * 1_000_000}, "long_caption"),
        ({"txt": b"\xff\xfe\x00"}, "damaged_caption"),
        ({"json": "{"}, "damaged_caption"),
        ({"json": "[" * 100_000}, "damaged_caption"),
        ({"json": json.dumps({"caption": {"caption": "a"}})}, "damaged_caption"),
        ({"json": json.dumps({"width": 3})}, "no_caption"),
    ],
)
def test_a_record_without_usable_captions_says_why(tmp_path: Path, captions: dict, reason: str) -> None:
    members = {"1.png": b"p", **{f"1.{end}": content for end, content in captions.items()}}
    found = shard(tmp_path / "a.tar", tar_bytes(members))
    with pytest.raises(ItemError) as caught:
        found.read(0)
    assert caught.value.reason == reason


def test_one_whole_caption_is_enough(tmp_path: Path) -> None:
    found = shard(tmp_path / "a.tar", tar_bytes({"1.png": b"p", "1.json": "{", "1.txt": "words"}))
    assert found.read(0).captions == ("words",)


def test_a_picture_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    found = shard(tmp_path / "a.tar", tar_bytes({"1.png": bytes(101), "1.txt": "a"}), max_bytes=100)
    with pytest.raises(ItemError, match="too_large"):
        found.read(0)


def test_what_is_left_out_is_counted_with_its_keys(tmp_path: Path) -> None:
    members = {"1.png": b"p", "1.txt": "a", "2.png": b"p", "3.txt": "c", "4.png": b"p", "5.cls": "0"}
    found = shard(tmp_path / "a.tar", tar_bytes(members))
    assert len(found) == 1
    assert found.broken.counts == {"no_caption": 2, "no_picture": 1}
    assert found.broken.keys == {"no_caption": ("a.tar/2", "a.tar/4"), "no_picture": ("a.tar/3",)}
    assert str(found.broken) == "2 no_caption (a.tar/2, a.tar/4); 1 no_picture (a.tar/3)"


def test_a_truncated_shard_keeps_its_whole_records(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "00.tar", 0, 5)
    with tarfile.open(whole) as tar:
        offset = tar.getmember("000003.jpg").offset_data
    found = shard(tmp_path / "cut.tar", whole.read_bytes()[: offset + 10])
    assert [found.read(row).image for row in range(len(found))] == [picture(number) for number in range(3)]
    assert found.broken.counts == {"cut_off": 1, "damaged_shard": 1}


def test_a_damaged_header_costs_its_own_record_only(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "00.tar", 0, 5)
    content = bytearray(whole.read_bytes())
    with tarfile.open(whole) as tar:
        header = tar.getmember("000002.jpg").offset
    content[header + 10] ^= 0xFF
    found = shard(tmp_path / "bad.tar", bytes(content))
    assert [found.key(row)[-1] for row in range(len(found))] == ["0", "1", "3", "4"]
    assert found.broken.counts == {"damaged_shard": 1, "no_picture": 1}
    assert found.broken.keys["damaged_shard"] == (f"bad.tar at byte {header}",)


def test_concatenated_archives_are_read_to_the_end(tmp_path: Path) -> None:
    parts = [write_shard(tmp_path / f"{part}.tar", 10 * part, 2).read_bytes() for part in range(2)]
    assert len(shard(tmp_path / "both.tar", b"".join(parts))) == 4


def test_of_several_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    parts = [tar_bytes({"1.png": content, "1.txt": "a"}) for content in (b"old", b"new")]
    found = shard(tmp_path / "a.tar", b"".join(parts))
    assert found.read(0).image == b"new"
    assert found.broken.counts == {"same_name": 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x1f\x8b" + bytes(600), "compressed"),
        (b"no tar at all " * 100, "no pair.*damaged_shard"),
        (bytes(10_240), "no pair"),
        (tar_bytes({"1.png": b"p", "2.txt": "a"}), "no pair.*no_caption.*no_picture"),
    ],
)
def test_a_shard_without_pairs_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(TrainingError, match=words):
        shard(tmp_path / "a.tar", content)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothere\.tar: No such file"):
        shard(tmp_path / "nothere.tar")


def test_the_index_is_kept_beside_the_shard_and_read_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes({"ü.png": b"p", "ü.txt": "a", "2.png": b"p"}))
    made = open_index(path)
    kept = path.with_name(".a.tar.index")
    stamp = kept.stat().st_mtime_ns
    again = open_index(path)
    assert kept.stat().st_mtime_ns == stamp
    assert again.key(0) == made.key(0) == "a.tar/ü"
    assert (again.pictures.tolist(), again.captions.tolist()) == (made.pictures.tolist(), made.captions.tolist())
    assert (again.broken.counts, again.broken.keys) == (made.broken.counts, made.broken.keys)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".a.tar.index", "a.tar"]


def test_a_changed_shard_is_indexed_anew(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", 0, 3)
    open_index(path)
    write_shard(path, 0, 4)
    assert len(open_index(path)) == 4


def test_a_shard_changed_within_its_size_and_time_is_indexed_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_bytes({"1.png": b"p", "1.txt": "a"}))
    assert open_index(path).key(0) == "a.tar/1"
    before = path.stat()
    path.write_bytes(tar_bytes({"2.png": b"p", "2.txt": "a"}))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert open_index(path).key(0) == "a.tar/2"


@pytest.mark.parametrize("damage", [b"", b"{}", bytes(100)])
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: bytes) -> None:
    path = write_shard(tmp_path / "a.tar", 0, 3)
    open_index(path)
    path.with_name(".a.tar.index").write_bytes(damage)
    assert len(open_index(path)) == 3


def test_an_index_that_cannot_stand_beside_its_shard_goes_to_the_cache_folder(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", 0, 3)
    path.with_name(".a.tar.index").mkdir()  # nothing can be renamed onto a folder, not even by root
    assert len(open_index(path, cache=tmp_path / "cache")) == 3
    (kept,) = (tmp_path / "cache").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert len(open_index(path, cache=tmp_path / "cache")) == 3
    assert kept.stat().st_mtime_ns == stamp


def test_an_index_that_can_be_kept_nowhere_is_used_all_the_same(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", 0, 3)
    path.with_name(".a.tar.index").mkdir()
    (tmp_path / "file").write_text("")
    assert len(open_index(path, cache=tmp_path / "file" / "cache")) == 3


def test_many_threads_read_the_same_bytes(tmp_path: Path) -> None:
    found = shard(write_shard(tmp_path / "00.tar", 0, 20))
    together = threading.Barrier(8)

    def all_rows(start: int) -> bool:
        together.wait()
        return all(found.read((start + row) % 20).image == picture((start + row) % 20) for row in range(20))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(all_rows, range(8)))


def test_a_shard_cut_after_indexing_is_an_error_of_its_records(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "00.tar", 0, 5)
    found = shard(path)
    os.truncate(path, 600)
    with pytest.raises(ItemError, match="cut_off"):
        found.read(4)
    path.unlink()
    with pytest.raises(ItemError, match="unreadable"):
        found.read(0)
