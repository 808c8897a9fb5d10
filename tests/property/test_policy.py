"""Laws of policy files: a policy survives writing and reading, and no file of any kind brings the loader down."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import DataError, PolicyError, Problem
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.policy.yaml_source import parse_yaml, plain
from tests.policy_text import ACTIONS, POLICY

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)
SLUG = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,4})?", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
# What files of policies are made of, broken in the ways in which people and machines break them.
PIECES = st.sampled_from(
    [*POLICY.splitlines(keepends=True), *"[]{}:,-#&*!|>'\"%@`?~\t\n", "  ", "- ", ": ", "id", "1e3"]
)


def load(content: bytes) -> Policy:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_bytes(content)
        return load_policy(path, action_names=ACTIONS)


def problems_of(content: bytes) -> tuple[Problem, ...]:
    """What is wrong with a file; nothing but PolicyError may come out of it."""
    try:
        load(content)
    except PolicyError as error:
        return error.problems or (Problem(Path(), -1, -1, "", ""),)
    return ()


def assert_only_located_problems(content: bytes) -> None:
    for problem in problems_of(content):
        assert problem.code
        assert problem.message
        assert min(problem.line, problem.column) >= 0
        str(problem).encode("utf-8")  # it can always be printed


@given(st.binary(max_size=200))
def test_no_bytes_bring_the_loader_down(content: bytes) -> None:
    assert_only_located_problems(content)


@given(st.text(max_size=200))
def test_no_text_brings_the_loader_down(text: str) -> None:
    assert_only_located_problems(text.encode("utf-8", "surrogatepass"))


@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_pieces_of_a_policy_bring_the_loader_down(text: str) -> None:
    assert_only_located_problems(text.encode())


@given(st.data())
def test_no_value_anywhere_in_a_policy_brings_the_loader_down(data: st.DataObject) -> None:
    values = plain_policy()
    keys = data.draw(st.lists(st.sampled_from([*values, "data", "audit", "add", "extends", "quota"]), min_size=1))
    for key in keys:
        values[key] = data.draw(VALUES)
    assert_only_located_problems(json.dumps(values).encode())


@given(VALUES)
def test_json_is_read_as_it_was_written(value: object) -> None:
    node, problems = parse_yaml(json.dumps(value, ensure_ascii=False).encode(), Path("x"))
    if not problems:  # some numbers are refused, and some characters
        assert node is not None
        assert plain(node) == tuples(value)


@given(title=TEXT, owner=TEXT, policy_id=SLUG, phrases=st.lists(TEXT, min_size=1, max_size=5, unique_by=str.casefold))
def test_a_policy_survives_writing_and_reading(title: str, owner: str, policy_id: str, phrases: list[str]) -> None:
    values = plain_policy()
    values |= {"title": title, "owner": owner, "id": policy_id}
    values["concepts"] = {"violating": [{"id": "one", "covers": ["v1"], "phrases": phrases}], "contrast": []}
    content = json.dumps(values).encode()
    if problems := problems_of(content):  # a text of blanks, or of characters that YAML has no place for
        assert {one.code for one in problems} <= {"P103", "Y002"}
        return
    policy = load(content)
    assert (policy.title, policy.owner, policy.id) == (title, owner, policy_id)
    assert policy.concepts.violating[0].phrases == tuple(phrases)
    again = load(json.dumps(policy.resolved()).encode())
    assert again.resolved() == policy.resolved()


@given(st.lists(st.one_of(VALUES.map(json.dumps), st.text(max_size=40)), max_size=5).map("\n".join))
def test_no_manifest_brings_its_loader_down(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.jsonl"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with contextlib.suppress(DataError):
            load_manifest(path)


def plain_policy() -> dict[str, object]:
    node, _ = parse_yaml(POLICY.encode(), Path("x"))
    assert node is not None
    values: dict[str, object] = json.loads(json.dumps(plain(node), default=str))
    return values


def tuples(value: object) -> object:
    if isinstance(value, list):
        return tuple(tuples(one) for one in value)
    return {key: tuples(one) for key, one in value.items()} if isinstance(value, dict) else value
