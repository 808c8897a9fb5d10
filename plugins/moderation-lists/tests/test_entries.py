"""Lists are read as they are meant, every bad row is located, all at once, and nothing of a list is ever told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from moderation_lists.entries import Entry, read_list

from moderation.errors import DataError


def read(tmp_path: Path, name: str, content: str | bytes, score: float = 0.8) -> list[Entry]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_list(path, "list", score)


def problems(tmp_path: Path, name: str, content: str | bytes) -> list[tuple[int, str]]:
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, content)
    assert "secretword" not in str(caught.value)
    return [(one.line, one.code) for one in caught.value.problems]


def test_lines_are_words_parts_of_words_and_patterns(tmp_path: Path) -> None:
    content = "# our words\r\nfree money\n\n  spin*  \n*cash*\n/win [0-9]+/\n"
    assert read(tmp_path, "a.txt", content) == [
        Entry("list", "line-2", 2, 0.8, "free money"),
        Entry("list", "line-4", 4, 0.8, "spin", goes_on=True),
        Entry("list", "line-5", 5, 0.8, "cash", opens=True, goes_on=True),
        Entry("list", "line-6", 6, 0.8, pattern="win [0-9]+"),
    ]


def test_columns_and_json_say_id_and_score(tmp_path: Path) -> None:
    expected = [Entry("list", "w-1", 2, 0.5, "free, now"), Entry("list", "line-3", 3, 0.8, "spin", goes_on=True)]
    assert read(tmp_path, "a.csv", '\ufeffid,entry,score\nw-1,"free, now",0.5\n,spin*,\n') == expected
    lines = '# no comment in JSON lines, so this file has none\n{"entry": "free, now", "id": "w-1", "score": 0.5}\n{"entry": "spin*"}\n'
    assert read(tmp_path, "a.jsonl", lines.replace(lines.splitlines()[0], "")) == expected


def test_every_bad_line_is_told_at_once(tmp_path: Path) -> None:
    content = (
        "secretword\n***\n/secretword(/\n/(?=secretword)/\n/secretword|/\ns*\n" + "secretword" * 30 + "\n!?\n赌*\n"
    )
    assert problems(tmp_path, "a.txt", content) == [
        (2, "L003"),
        (3, "L004"),
        (4, "L004"),
        (5, "L004"),
        (6, "L003"),
        (7, "L003"),
        (8, "L003"),
    ]


def test_every_bad_row_is_told_at_once(tmp_path: Path) -> None:
    rows = 'entry,id,score\nsecretword,a,1\nsecretword,a,0.5\nsecretword,b,2\nsecretword,c,nan\nsecretword,no id,1\nsecretword\n,d,1\n"secretword\n'
    assert problems(tmp_path, "a.csv", rows) == [
        (3, "L006"),
        (4, "L005"),
        (5, "L005"),
        (6, "L006"),
        (7, "L007"),
        (8, "L007"),
        (9, "L007"),
    ]
    lines = '{"entry": "secretword"}\n{"entry": 1}\nsecretword\n["secretword"]\n{"entry": "secretword", "weight": 1}\n{"entry": "secretword", "score": true}\n{"entry": "secretword", "id": "\u202e"}\n'
    assert problems(tmp_path, "a.jsonl", lines) == [
        (2, "L007"),
        (3, "L007"),
        (4, "L007"),
        (5, "L007"),
        (6, "L005"),
        (7, "L006"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "", [(0, "L009")]),
        ("a.txt", "# nothing yet\n", [(0, "L009")]),
        ("a.txt", b"free\nsecretword\xff\n", [(2, "L002")]),
        ("a.csv", "secretword\nfree\n", [(1, "L007")]),
        ("a.csv", "entry,weight\nsecretword,1\n", [(1, "L007")]),
        ("a.csv", "entry,entry\nsecretword,secretword\n", [(1, "L007")]),
    ],
)
def test_what_is_no_list_is_told_as_such(
    tmp_path: Path, name: str, content: str | bytes, expected: list[tuple[int, str]]
) -> None:
    assert problems(tmp_path, name, content) == expected


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.txt: L001: cannot be read: No such file"):
        read_list(tmp_path / "gone.txt", "list", 1.0)


def test_of_another_kind_of_file_a_thousand_lines_are_told(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "a.jsonl", "secretword\n" * 3000)) == 1000


@given(content=st.binary(max_size=300), suffix=st.sampled_from([".txt", ".csv", ".jsonl"]))
def test_whatever_a_file_holds_it_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("lists") / f"a{suffix}"
    path.write_bytes(content)
    try:
        found = read_list(path, "list", 1.0)
    except DataError:
        return
    assert found
    assert len({one.id for one in found}) == len(found)
