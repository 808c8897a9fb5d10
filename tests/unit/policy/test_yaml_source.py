"""Reading YAML: every trap of the language is a located problem, and what is read is what was written."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from moderation.errors import Problem
from moderation.policy.yaml_source import MAX_BYTES, MAX_DEPTH, Node, parse_yaml, plain, read_yaml

HERE = Path("policy.yaml")


def parsed(text: str) -> Node:
    node, problems = parse_yaml(text.encode(), HERE)
    assert problems == []
    assert node is not None
    return node


def problems_of(content: str | bytes) -> list[tuple[int, int, str]]:
    return [(p.line, p.column, p.code) for p in all_problems(content)]


def all_problems(content: str | bytes) -> list[Problem]:
    return parse_yaml(content.encode() if isinstance(content, str) else content, HERE)[1]


def test_every_kind_of_value_is_read() -> None:
    text = "a: {b: [1, -2.5, true, ~, x y, 'no', \"1e-3\", 2027-03-01]}\nc: |\n  two\n  lines\n"
    day = dt.date(2027, 3, 1)
    assert plain(parsed(text)) == {"a": {"b": (1, -2.5, True, None, "x y", "no", "1e-3", day)}, "c": "two\nlines\n"}


def test_values_know_where_they_stand() -> None:
    node = parsed("a:\n  - b: [x, 'y']\n").get("a", 0, "b", 1)
    assert node is not None
    assert (node.value, node.path, node.line, node.column) == ("y", HERE, 2, 12)


@pytest.mark.parametrize(
    "value",
    ["no", "No", "on", "yes", "off", "y", "1e-3", "1e3", "12:30", "1:30:15", "010", "0o17", "0x1f", "1_000", "+5",
     ".5", "5.", ".inf", "-.INF", ".nan", "2027-3-1", "2027-02-30", "2027-03-01T10:00:00Z", "007"],
)  # fmt: skip
def test_values_that_readers_disagree_on_are_refused_where_they_stand(value: str) -> None:
    (problem,) = all_problems(f"a: [fine, {value}]\n")
    assert (problem.line, problem.column, problem.code) == (1, 11, "Y006")
    assert value in problem.message
    assert "quote" in problem.message


@pytest.mark.parametrize("value", ["nose", "once", "n/a", "1.2.3", "v1e-3", "12:30pm", "0.5.1", "a 7", "2026-08", "0"])
def test_values_that_only_look_like_them_are_not(value: str) -> None:
    assert problems_of(f"a: {value}\n") == []


@pytest.mark.parametrize("value", ["no", "1e-3", "12:30", "010", "2027-03-01", "true", "7", "~"])
def test_a_quoted_value_is_a_text(value: str) -> None:
    assert plain(parsed(f"a: '{value}'\n")) == {"a": value}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: 1\nb: 2\na: 3\n", (3, 1, "Y003")),
        ("a: &x 1\n", (1, 4, "Y004")),
        ("a: *x\n", (1, 4, "Y004")),
        ("a: !!python/object:os.system x\n", (1, 4, "Y004")),
        ("a: !local x\n", (1, 4, "Y004")),
        ("%YAML 1.1\n---\na: 1\n", (2, 1, "Y004")),
        ("a: 1\n---\nb: 1\n", (2, 1, "Y005")),
        ("a:\n\tb: 1\n", (2, 1, "Y002")),
        ("a: [1\nb: 2\n", (2, 2, "Y002")),
        ("a: x: y\n", (1, 5, "Y002")),
        ("a: \x07\n", (1, 4, "Y002")),
        ('a: "\\0"\n', (1, 4, "Y002")),
        ('"\\ud800": 1\n', (1, 1, "Y002")),
        ("a: 'open\n", (2, 1, "Y002")),
        ("", (1, 1, "Y002")),
        ("# nothing\n", (1, 1, "Y002")),
        ("? [a, b]\n: c\n", (1, 3, "Y002")),
        (b"a: \xff\n", (1, 4, "Y001")),
        ("a: b".encode("utf-16"), (1, 1, "Y001")),
        ("a: " + "x" * 20_000, (1, 10_001, "Y001")),
        (b"#" * (MAX_BYTES + 1), (0, 0, "Y001")),
    ],
)
def test_what_is_refused_is_located(text: str | bytes, where: tuple[int, int, str]) -> None:
    assert problems_of(text) == [where]


def test_an_alias_bomb_is_refused_at_its_first_anchor_without_being_expanded() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    problems = all_problems("\n".join(lines))
    assert problems[0].line == 1
    assert {problem.code for problem in problems} == {"Y004"}


@pytest.mark.parametrize("opening", ["[", "{", "- ", "? ", "[\n", "{a: "])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert all_problems(opening * (MAX_DEPTH + 3))[-1].code == "Y005"


def test_nesting_within_the_limit_is_read() -> None:
    parsed("[" * MAX_DEPTH + "]" * MAX_DEPTH)


def test_a_comma_in_an_unquoted_text_is_explained() -> None:
    (problem,) = all_problems("violates: [{id: v1, text: a working firearm, or a knife}]\n")
    assert (problem.line, problem.column, problem.code) == (1, 46, "Y007")
    assert "'or a knife'" in problem.message
    assert "quotes" in problem.message


def test_a_key_with_a_colon_and_no_value_is_no_comma_trap() -> None:
    assert plain(parsed("{a: , b: 1}")) == {"a": None, "b": 1}


def test_all_problems_of_a_file_are_found_together() -> None:
    assert [code for _, _, code in problems_of("a: no\na: 1\nb: &x 2\nc: !t 3\nd: {e f}\n")] == [
        "Y006", "Y003", "Y004", "Y004", "Y007",
    ]  # fmt: skip


def test_a_byte_order_mark_is_not_part_of_the_first_key() -> None:
    node, problems = parse_yaml(b"\xef\xbb\xbfa: 1\n", HERE)
    assert (node and plain(node), problems) == ({"a": 1}, [])


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path, Path("nul\0byte")):
        node, problems = read_yaml(path)
        assert node is None
        assert [problem.code for problem in problems] == ["Y001"]
