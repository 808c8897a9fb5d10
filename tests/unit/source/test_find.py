"""What a scan reads: everything that is named gets an entry, and nothing that cannot be read is lost."""

from __future__ import annotations

import io
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import DataError, ItemError
from moderation.item import Modality
from moderation.policy import manifest
from moderation.policy.manifest import load_manifest
from moderation.source.entry import Entry
from moderation.source.find import STDIN, find

LIMIT = 1000


def entries(*paths: Path) -> list[Entry]:
    return list(find(paths, max_bytes=LIMIT).entries)


def refusal(entry: Entry) -> str:
    with pytest.raises(ItemError) as caught:
        entry.read()
    return str(caught.value)


def test_videos_are_judged_where_a_reader_reads_them_and_left_alone_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "clip.MP4").write_bytes(b"film")
    (tmp_path / "long.webm").write_bytes(b"a long film")
    (tmp_path / "a.txt").write_bytes(b"x")
    without, given = find([tmp_path], max_bytes=LIMIT), find([tmp_path], max_bytes=LIMIT, video_bytes=4)
    assert ([Path(one).name for one in without.left_alone], given.left_alone) == (["clip.MP4", "long.webm"], [])
    text, clip, long = given.entries
    assert [part.modality for one in (text, clip) for part in one.read().parts] == ["text", "video"]
    assert "larger than 4 bytes" in refusal(long)
    assert "no reader in force reads videos" in refusal(
        next(iter(find([tmp_path / "clip.MP4"], max_bytes=LIMIT).entries))
    )


def test_folders_are_searched_through_and_sorted(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.JPG", "a/x.txt", "c.webp", "d.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.md").write_text("not ours")
    found = find([tmp_path], max_bytes=LIMIT)
    assert [Path(one.id).relative_to(tmp_path).as_posix() for one in found.entries] == [
        "c.webp", "d.gif", "a/x.txt", "b/1.JPG", "b/2.png",
    ]  # fmt: skip
    assert (found.total, [Path(one).name for one in found.left_alone]) == (5, ["notes.md"])


@pytest.mark.parametrize("names", [("a.png", "b.txt"), ("A.PNG", "NOTE.TXT"), ("B.JPG", "b.Txt")])
def test_a_picture_is_its_bytes_and_a_text_is_decoded(names: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / names[0]).write_bytes(b"\x89PNG")
    (tmp_path / names[1]).write_text("\ufeffhällo", encoding="utf-8")
    picture, text = (entry.read().parts[0] for entry in entries(tmp_path))
    assert (picture.modality, picture.content) == (Modality.IMAGE, b"\x89PNG")
    assert (text.modality, text.content.decode()) == (Modality.TEXT, "hällo")


def test_what_cannot_be_judged_is_an_entry_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(b"x" * (LIMIT + 1))
    (tmp_path / "latin.txt").write_bytes(b"\xe9")
    (tmp_path / "odd.exe").write_bytes(b"x")
    large, latin = entries(tmp_path)
    # Which file it is, the entry's name says.
    assert refusal(large) == "unsupported_input: larger than 1000 bytes"
    assert refusal(latin) == "unsupported_input: not UTF-8"
    (tmp_path / "one.jsonl").write_text('{"id": "one", "path": "latin.txt"}')
    (row,) = entries(tmp_path / "one.jsonl")
    assert refusal(row) == f"unsupported_input: {tmp_path / 'latin.txt'}: not UTF-8"
    kinds = ".gif, .jpeg, .jpg, .png, .txt, .webp"
    assert f"neither picture nor text; expected {kinds}" in refusal(*entries(tmp_path / "odd.exe"))


def test_a_file_that_vanished_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    found = entries(path)
    path.unlink()
    assert refusal(*found).startswith("unreadable:")


def test_a_pipe_is_not_read_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "not a regular file" in refusal(*entries(tmp_path))


def test_json_lines_hold_paths_texts_and_several_parts(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    rows = [
        {"id": "one", "path": "a.png"},
        {"text": "hello", "attributes": {"surface": "chat"}},
        {"id": "three", "parts": [{"path": "a.png", "name": "front"}, {"text": "for sale"}]},
    ]
    (tmp_path / "items.jsonl").write_text("\n\n".join(map(json.dumps, rows)))
    found = find([tmp_path / "items.jsonl"], max_bytes=LIMIT)
    one, two, three = (entry.read() for entry in found.entries)
    assert found.total == 3
    assert (one.id, one.parts[0].content) == ("one", b"picture")
    assert two.id.endswith("items.jsonl:3")
    assert dict(two.attributes) == {"surface": "chat"}
    assert [(part.name, part.content) for part in three.parts] == [("front", b"picture"), ("", b"for sale")]


def test_a_data_manifest_can_be_scanned_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    row = {"path": "a.png", "sha256": "0" * 64, "target": True, "cluster": "c", "source": "s", "licence": "CC0-1.0"}
    (tmp_path / "fit.jsonl").write_text(json.dumps(row | {"attributes": {}}))
    assert entries(tmp_path / "fit.jsonl")[0].read().id == "a.png"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a line of JSON"),
        ("[1]", "expected a JSON object"),
        ('{"id": "a"}', "found no content"),
        ('{"text": "a", "path": "b"}', "found path and text"),
        ('{"text": "a", "txet": "b"}', "unknown key 'txet'"),
        ('{"id": 3, "text": "a"}', "'id' is 3"),
        ('{"id": "", "text": "a"}', "'id' is ''"),
        ('{"parts": []}', "at least one part"),
        ('{"parts": ["a.png"]}', "part 'a.png'"),
        ('{"parts": [{"name": "x"}]}', "expected one of"),
        ('{"text": 3}', "expected strings"),
        ('{"text": "a", "attributes": {"n": 1}}', "object of strings"),
        ('{"text": "\\ud800"}', "surrogate"),
        ('{"path": "gone.png"}', "unreadable"),
        ('{"path": "\\u0000.png"}', "unreadable"),
        ("[" * 100_000, "not a line of JSON"),
    ],
)
def test_a_wrong_line_is_an_item_of_its_own(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "items.jsonl").write_text(f'{line}\n{{"id": "good", "text": "fine"}}\n')
    wrong, good = entries(tmp_path / "items.jsonl")
    assert message in refusal(wrong)
    assert good.read().id == "good"


def test_stdin_is_json_lines_of_unknown_number(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"text": "hello"}\n')

    monkeypatch.setattr("sys.stdin", Stdin)
    found = find([STDIN], max_bytes=LIMIT)
    assert found.total is None
    assert [entry.read().id for entry in found.entries] == ["stdin:1"]


def test_all_missing_arguments_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find([tmp_path / "x", tmp_path / "y"], max_bytes=LIMIT)
    assert len(caught.value.problems) == 2


def test_nothing_to_judge_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("hello")
    with pytest.raises(DataError, match="nothing to judge"):
        find([tmp_path], max_bytes=LIMIT)


def test_a_name_that_is_not_utf8_can_still_be_printed(tmp_path: Path) -> None:
    name = b"a\xff.txt".decode("utf-8", "surrogateescape")
    (tmp_path / name).write_text("hello")
    (found,) = entries(tmp_path)
    assert found.id.endswith("a\\xff.txt")
    found.id.encode("utf-8")
    assert found.read().parts[0].content == b"hello"


def test_a_line_without_end_is_passed_over_and_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_LINE_BYTES", 100)
    file = tmp_path / "items.jsonl"
    long = '{"id": "long", "text": "' + "x" * 1000 + '"}'
    exact = '{"id": "exact", "text": "' + "x" * 72 + '"}'
    lines = ['{"text": "a"}', long, exact, '{"text": "b"}', long]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert len(exact) + 1 == 100  # with its line end
    assert find([file], max_bytes=LIMIT).total == 5
    found = entries(file)
    assert [entry.id for entry in found] == [f"{file}:1", f"{file}:2", "exact", f"{file}:4", f"{file}:5"]
    for number in (1, 4):
        assert "a line of over" in refusal(found[number])


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "\\ud800", "text": "x"}',
        '{"id": "a", "path": "\\ud800.png"}',
        '{"id": "a", "parts": [{"text": "x", "name": "\\udfff"}]}',
    ],
)
def test_what_utf8_cannot_write_is_an_error_of_its_item(tmp_path: Path, line: str) -> None:
    (tmp_path / "items.jsonl").write_text(line)
    (entry,) = entries(tmp_path / "items.jsonl")
    assert "half a surrogate pair" in refusal(entry)
    entry.id.encode()


def test_a_folder_that_cannot_be_read_is_an_entry_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.png").write_bytes(b"picture")
    scandir = os.scandir

    def refused(path: str) -> object:  # root may read everything, so the refusal has to be made
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    one, two = sorted(entries(tmp_path), key=lambda entry: entry.id)
    assert one.id.endswith("a.png")
    assert "the folder cannot be read" in refusal(two)


def test_a_pipe_in_a_folder_is_left_alone_and_one_that_is_named_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "items.jsonl")
    (tmp_path / "a.png").write_bytes(b"picture")
    found = find([tmp_path], max_bytes=LIMIT)
    assert (found.total, [Path(one).name for one in found.left_alone]) == (1, ["items.jsonl"])
    assert find([tmp_path / "items.jsonl"], max_bytes=LIMIT).total is None


def test_a_device_in_a_folder_is_left_alone_and_not_read_for_ever(tmp_path: Path) -> None:
    (tmp_path / "endless.jsonl").symlink_to("/dev/zero")
    (tmp_path / "endless.parquet").symlink_to("/dev/zero")
    (tmp_path / "lost.jsonl").symlink_to("nowhere.jsonl")
    (tmp_path / "endless.png").symlink_to("/dev/zero")
    found = find([tmp_path], max_bytes=LIMIT)
    assert [Path(one).name for one in found.left_alone] == ["endless.jsonl", "endless.parquet"]
    assert ["not a regular file" in refusal(one) or "No such file" in refusal(one) for one in found.entries] == [
        True
    ] * 2
    assert find([tmp_path / "endless.jsonl"], max_bytes=LIMIT).total is None


@pytest.mark.parametrize("url", ["https://example.org/a.png", "http://example.org/a.txt", "file:///etc/hostname.txt"])
def test_an_address_is_a_file_that_is_not_there_and_nothing_is_fetched(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(*_args: Any, **_options: Any) -> Any:
        raise AssertionError("the network was used")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, used)
    row = {"path": url, "sha256": "0" * 64, "target": True, "cluster": "a"}
    file = tmp_path / "fit.jsonl"
    file.write_text(f"{json.dumps(row)}\n{json.dumps({'parts': [{'path': url}]})}\n")
    assert [refusal(entry).split(":")[0] for entry in entries(file)] == ["unreadable", "unreadable"]
    with pytest.raises(DataError, match="no such file or folder"):
        find([Path(url)], max_bytes=LIMIT)
    file.write_text(json.dumps(row))
    with pytest.raises(DataError, match="expected a path relative to the manifest"):
        load_manifest(file)
