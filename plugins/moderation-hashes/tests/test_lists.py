"""Lists in every form that ThreatExchange's tools write; bad lines are located, all at once, and never quoted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moderation_hashes.lists import MOST_PROBLEMS, HashList, read_list

from moderation.errors import DataError

A, B, C = ("f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22", "0" * 63 + "1", "ab" * 32)
MD5 = "d41d8cd98f00b204e9800998ecf8427e"


def read(folder: Path, name: str, content: str) -> HashList:
    (folder / name).write_text(content, encoding="utf-8")
    return read_list(folder / name, "bad")


def hexes(found: HashList) -> list[str]:
    return [row.tobytes().hex() for row in found.hashes]


FORMS = {
    "type,value": ("list.csv", f"pdq,{A}\nmd5,{MD5}\nPDQ,{B}\n"),
    "type,value,tags": ("list.csv", f'HASH_PDQ,{A},"terror, gore"\nHASH_MD5,{MD5},\nHASH_PDQ,{B},x\n'),
    "threatexchange dataset -P --csv": (
        "list.csv",
        f"signal_type,signal_str,collab,category,tags\npdq,{A},C,POSITIVE_CLASS,x y\nmd5,{MD5},C,,\npdq,{B},C,INVESTIGATION_SEED,\n",
    ),
    "a file of LocalFileSignalExchangeAPI": ("list.txt", f"pdq {A}\nmd5 {MD5}\n\npdq {B}\n"),
    "threatexchange dataset -P": ("list.txt", f"pdq {A} 'C' x\nmd5 {MD5} 'C' y\npdq {B} 'C' z\n"),
    "hashes alone": ("list.txt", f"# a comment\n{A}\r\n{B.upper()}\r\n"),
    "descriptors": (
        "list.json",
        json.dumps({"data": [{"type": "HASH_PDQ", "raw_indicator": one, "tags": ["x"]} for one in (A, B)]}),
    ),
    "a list of descriptors": ("list.json", json.dumps([{"type": "HASH_PDQ", "indicator": one} for one in (B, A)])),
    "one descriptor a line": (
        "list.jsonl",
        "".join(f'{{"type": "HASH_PDQ", "indicator": "{one}"}}\n' for one in (A, B)),
    ),
    "HMA's bank content": (
        "list.json",
        json.dumps([{"id": n, "signals": {"pdq": one, "video_md5": MD5}} for n, one in enumerate((A, B))]),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(tmp_path: Path, form: str) -> None:
    assert hexes(read(tmp_path, *FORMS[form])) == sorted([A, B])


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=30))
def test_hashes_come_in_order_and_once(tmp_path_factory: pytest.TempPathFactory, hashes: list[bytes]) -> None:
    content = "".join(f"pdq,{one.hex()}\n" for one in [*hashes, *hashes])
    assert hexes(read(tmp_path_factory.mktemp("list"), "list.csv", content)) == sorted({one.hex() for one in hashes})


def test_what_its_owner_calls_harmless_is_passed_over(tmp_path: Path) -> None:
    rows = [
        {"type": "HASH_PDQ", "indicator": A, "status": "MALICIOUS"},
        {"type": "HASH_PDQ", "indicator": B, "status": "NON_MALICIOUS"},
    ]
    found = read(tmp_path, "list.json", json.dumps(rows))
    assert hexes(found) == [A]
    assert found.passed_over == {"harmless": 1}
    content = (
        f"signal_type,signal_str,category\npdq,{A},POSITIVE_CLASS\npdq,{B},NEGATIVE_CLASS\nmd5,{MD5},POSITIVE_CLASS\n"
    )
    found = read(tmp_path, "list.csv", content)
    assert hexes(found) == [A]
    assert found.passed_over == {"harmless": 1, "md5": 1}


def test_of_what_is_passed_over_only_words_of_ours_are_told(tmp_path: Path) -> None:
    """The first word of a row may be anything: a name, an address."""
    rows = ["canary_md5 x", "video_md5 y", "canary_MD5_email z", "file_canary w"]
    for name, lines in (("list.txt", rows), ("list.csv", [one.replace(" ", ",") for one in rows])):
        found = read(tmp_path, name, "\n".join([f"pdq {A}" if name == "list.txt" else f"pdq,{A}", *lines]))
        assert found.passed_over == {"md5": 2, "email": 1, "file": 1}
    found = read(
        tmp_path,
        "list.json",
        json.dumps({"data": [{"type": "HASH_PDQ", "indicator": A}, {"signals": {"md5_canary": "x"}}]}),
    )
    assert found.passed_over == {"md5": 1}


def problems(folder: Path, name: str, content: str) -> list[tuple[int, str]]:
    with pytest.raises(DataError) as caught:
        read(folder, name, content)
    return [(one.line, one.message) for one in caught.value.problems]


def test_every_bad_line_is_told_at_once_and_none_is_quoted(tmp_path: Path) -> None:
    value = "c0ffee"
    content = f"pdq,{A}\npdq,{value}\npdq,{'zz' * 32}\n{value} {value}?\npdq,{B}\n{value}\n7up,{A}\npdq,{'ab ' * 21}a\n"
    found = problems(tmp_path, "list.csv", content)
    assert [line for line, _ in found] == [2, 3, 4, 6, 7, 8]
    assert found[0][1] == "found 6 characters in place of a PDQ hash; expected 64 hexadecimal digits"
    assert found[1][1] == "found other characters in place of a PDQ hash; expected 64 hexadecimal digits"
    assert not any(value in message or A in message for _, message in found)


def test_a_slip_of_the_pen_in_a_type_is_an_error(tmp_path: Path) -> None:
    """Passed over, its hash would never be found, and nobody would know."""
    assert [line for line, _ in problems(tmp_path, "list.csv", f"pdq,{A}\npqd,{B}\n")] == [2]


def test_a_quote_that_nobody_closed_loses_no_hash_in_silence(tmp_path: Path) -> None:
    content = f'pdq,{A},"terror\npdq,{B},\npdq,{C},"gore"\n'
    assert [message[:12] for _, message in problems(tmp_path, "list.csv", content)] == ["is no signal"]
    assert problems(tmp_path, "list.csv", f"pdq,{A},{'x' * 200_000}\n")


@settings(max_examples=100)
@given(st.sampled_from(["list.csv", "list.json", "list.jsonl"]), st.text(max_size=80))
def test_whatever_comes_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, name: str, content: str) -> None:
    path = tmp_path_factory.mktemp("list") / name
    path.write_bytes(content.encode("utf-8", "ignore"))
    with pytest.raises(DataError):
        read_list(path, "bad")


@pytest.mark.parametrize("value", [None, [], {}, 7, "x"])
def test_a_field_of_any_type_is_read_or_refused(tmp_path: Path, value: object) -> None:
    for field in ("type", "indicator", "status", "signals"):
        record = {"type": "HASH_PDQ", "indicator": A} | {field: value}
        try:
            found = read(tmp_path, "list.json", json.dumps([record]))
        except DataError:
            continue
        assert hexes(found) == [A]
        assert field in {"status", "signals"}


@pytest.mark.parametrize("content", ["", "\n", f"md5,{MD5}\n"])
def test_a_list_without_a_hash_is_an_error(tmp_path: Path, content: str) -> None:
    ((line, message),) = problems(tmp_path, "list.csv", content)
    assert (line, message[:17]) == (0, "holds no PDQ hash")


@pytest.mark.parametrize("content", ["{", "[1]", '"x"', "[" * 100_000, "[{}]", '{"data": {}}'])
def test_json_that_is_no_list_is_an_error(tmp_path: Path, content: str) -> None:
    assert problems(tmp_path, "list.json", content)[0][1].startswith("is no signal")


def test_what_is_no_text_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(f"pdq,{A}\n".encode() + b"\xff\n")
    with pytest.raises(DataError, match=r"list\.csv:2:0: H002: is no UTF-8"):
        read_list(tmp_path / "list.csv", "bad")


def test_another_kind_of_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "list.csv", "nothing of the kind\n" * (MOST_PROBLEMS + 7))) == MOST_PROBLEMS


def test_an_absent_file_and_a_wrong_name_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_list(tmp_path / "absent.csv", "bad")
    with pytest.raises(DataError, match="found the name 'Bad List'"):
        read_list(tmp_path / "absent.csv", "Bad List")


def test_a_byte_order_mark_is_no_part_of_the_first_type(tmp_path: Path) -> None:
    assert len(read(tmp_path, "list.csv", f"\ufeffpdq,{C}\n").hashes) == 1
    assert read(tmp_path, "list.csv", f"\ufeffpdq,{C}\n").hashes.dtype == np.uint8
