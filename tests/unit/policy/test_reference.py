"""The YAML reference and the editors' schema say what the code does: every field, every code, every example."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from moderation.compiler.heads import MIN_BANK
from moderation.errors import DataError
from moderation.policy.extends import LISTS
from moderation.policy.lint import lint
from moderation.policy.lint_words import WORD_RULES
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.manifest_row import ManifestRow
from moderation.policy.paths import BACKGROUND, background_of
from moderation.policy.schema import Policy, json_schema
from moderation.policy.yaml_source import parse_yaml
from tests.conftest import ROOT
from tests.policy_text import ACTIONS, POLICY, TESTS, with_line, write

README = (ROOT / "policies" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
SCHEMA_FILE = ROOT / "policies" / "policy.schema.json"


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The lines of the reference's table for a section and the sections in it."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        default = "required" if field.is_required() else spelled(field.get_default(call_default_factory=True))
        yield f"| `{path}` | {default} | {field.description} |"
        section, is_list = section_in(field.annotation)
        if section:
            yield from rows(section, f"{path}{'[]' if is_list else ''}.")


def spelled(default: Any) -> str:
    assert default is not PydanticUndefined
    empty = default is None or default in ((), {}) or isinstance(default, BaseModel)
    return "" if empty else f"`{default.value if isinstance(default, Enum) else default}`"


def section_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    for one in get_args(annotation):
        section, _ = section_in(one)
        if section:
            return section, "tuple" in str(annotation)
    return None, False


@pytest.mark.parametrize("model", [Policy, ManifestRow])
def test_the_reference_has_every_field(model: type[BaseModel]) -> None:
    table = "\n".join(["| field | default | meaning |", "|---|---|---|", *rows(model)])
    assert table in README, f"policies/README.md should hold:\n{table}"


def test_the_reference_has_every_list_that_changes_by_id() -> None:
    for name, key in LISTS.items():
        assert f"| `{name}` | {f'`{key}`' if key else 'the entry itself'} |" in README


def test_the_reference_has_every_code_and_no_other() -> None:
    files = sorted((ROOT / "moderation").rglob("*.py"))
    code = {one for path in files for one in re.findall(r"""["']([A-Z]\d{3})["']""", path.read_text(encoding="utf-8"))}
    assert set(re.findall(r"^\| `([A-Z]\d{3})` \|", README, re.MULTILINE)) == code
    for rule in WORD_RULES:
        assert f"| `{rule.code}` | {rule.severity} |" in README


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        ("D001", None, "is not there"),
        ("D001", "", "holds no rows"),
        ("D005", '{"path": "gone.txt", "sha256": "%s", "target": true, "cluster": "a"}' % ("0" * 64), "is not there"),
        ("D002", "{", "not JSON"),
        ("D003", "{}", "wrong key or value"),
    ],
)
def test_the_reference_says_of_a_manifests_codes_what_the_code_does(
    code: str, line: str | None, words: str, tmp_path: Path
) -> None:
    if line is not None:
        (tmp_path / "fit.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_manifest(tmp_path / "fit.jsonl")
    assert {one.code for one in caught.value.problems} == {code}
    assert re.search(rf"^\| `{code}` \| .*{words}", README, re.MULTILINE)


def test_the_background_is_explained_as_compile_reads_it(tmp_path: Path) -> None:
    (told,) = re.findall(r"### The background\n(.*?)\n## ", README, re.DOTALL)
    assert f"`{BACKGROUND.as_posix()}` beside the policy" in told
    assert f"fewer than {MIN_BANK} items" in told
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ID.background.jsonl").touch()
    assert f"`{background_of(tmp_path / 'ID.yaml', 'ID').relative_to(tmp_path).as_posix()}`" in told


def test_the_whole_policy_of_the_reference_loads_and_lints_clean(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, EXAMPLES[0]), action_names=ACTIONS)
    assert lint(policy, today=dt.date(2026, 11, 23), languages=["en"]) == []
    child = load_policy(write(tmp_path, EXAMPLES[1], name="auctions.yaml"), action_names=ACTIONS)
    assert [one.id for one in child.concepts.contrast] == ["toy", "antique"]
    assert lint(child, today=dt.date(2026, 11, 23), languages=["en"]) == []


def test_the_test_file_of_the_reference_goes_both_ways(tmp_path: Path) -> None:
    policy = load_policy(write(tmp_path, tests=EXAMPLES[2]), action_names=ACTIONS)
    assert lint(policy, today=dt.date(2026, 11, 23)) == []


def test_the_committed_schema_is_the_generated_one() -> None:
    # As values: one version of pydantic writes 1 where another writes 1.0.
    committed = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert committed == json_schema(), "moderation policy schema --out policies/policy.schema.json"


CHILD = "schema: policy/v1\nid: knives\nextends: weapons\nadd: {tests: [x.yaml]}\n"
BASE = "schema: policy-base/v1\nowner: us\n"


@pytest.mark.parametrize("text", [POLICY, EXAMPLES[0], EXAMPLES[1], CHILD, BASE])
def test_editors_accept_what_the_loader_accepts(text: str) -> None:
    assert list(violations(as_json(text), json_schema())) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (with_line("owner", None), "owner"),
        (with_line("title", "titel: x"), "titel"),
        (with_line("severity", "severity: grave"), "severity"),
        (with_line("id", "id: A B"), "id"),
        (with_line("tests", "tests: []"), "tests"),
        (with_line("tests", "tests: [/etc/x.yaml]"), "tests.0"),
        (POLICY.replace("at_least: 0.95", "at_least: 1.95"), "actions.0.guarantee.at_least"),
        (POLICY.replace("budget: 0.02", "threshold: 0.02"), "actions.1.threshold"),
        (CHILD.replace("add: {tests", "add: {test"), "add.test"),
        (CHILD.replace("add:", "replace:"), "replace.tests"),
        (BASE.replace("schema: policy-base/v1\n", ""), "schema"),
        (TESTS, "cases"),
    ],
)
def test_editors_mark_what_the_loader_refuses(text: str, where: str) -> None:
    assert where in list(violations(as_json(text), json_schema()))


def as_json(text: str) -> Any:
    """A document as an editor sees it: days are texts."""
    node, problems = parse_yaml(text.encode(), Path("x"))
    assert not problems
    assert node is not None
    from moderation.policy.yaml_source import plain

    return json.loads(json.dumps(plain(node), default=str))


TYPES = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "null": type(None)}


def violations(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "") -> Iterator[str]:
    """Where a value breaks a JSON Schema; knows the words that ours uses, and fails on any other."""
    root = root or schema
    if "$ref" in schema:
        yield from violations(value, root["$defs"][schema["$ref"].rsplit("/", 1)[1]], root, at)
    known = {"$ref", "$defs", "$schema", "title", "description", "default", "format", "then", "else"}
    for word, rule in schema.items():
        if word not in known and not (word == "anyOf" and at == "" and "properties" not in schema):
            yield from CHECKS[word](value, rule, schema, root, at)


def below(at: str, key: object) -> str:
    return f"{at}.{key}" if at else str(key)


def holds(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    return not list(violations(value, schema, root, " "))


def check_type(value: Any, rule: str, _schema: Any, _root: Any, at: str) -> Iterator[str]:
    if not isinstance(value, TYPES[rule]) or isinstance(value, bool):
        yield at


def check_properties(value: Any, rule: Any, _schema: Any, root: Any, at: str) -> Iterator[str]:
    for key in set(rule) & set(value if isinstance(value, dict) else ()):
        yield from violations(value[key], rule[key], root, below(at, key))


def check_additional(value: Any, rule: Any, schema: Any, _root: Any, at: str) -> Iterator[str]:
    assert rule is False
    yield from (below(at, key) for key in value if key not in schema["properties"])


def check_required(value: Any, rule: Any, _schema: Any, _root: Any, at: str) -> Iterator[str]:
    yield from (below(at, key) for key in rule if key not in value)


def check_items(value: Any, rule: Any, _schema: Any, root: Any, at: str) -> Iterator[str]:
    for number, one in enumerate(value if isinstance(value, list) else ()):
        yield from violations(one, rule, root, below(at, number))


def check_any(value: Any, rule: Any, _schema: Any, root: Any, at: str) -> Iterator[str]:
    if not any(holds(value, one, root) for one in rule):
        yield at


def check_if(value: Any, rule: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    yield from violations(value, schema["then" if holds(value, rule, root) else "else"], root, at)


def simple(right: Any) -> Any:
    def check(value: Any, rule: Any, _schema: Any, _root: Any, at: str) -> Iterator[str]:
        if not right(value, rule):
            yield at

    return check


CHECKS: dict[str, Any] = {
    "type": check_type,
    "properties": check_properties,
    "additionalProperties": check_additional,
    "required": check_required,
    "items": check_items,
    "anyOf": check_any,
    "if": check_if,
    "enum": simple(lambda value, rule: value in rule),
    "const": simple(lambda value, rule: value == rule),
    "pattern": simple(lambda value, rule: re.search(rule, value)),
    "minLength": simple(lambda value, rule: len(value) >= rule),
    "maxLength": simple(lambda value, rule: len(value) <= rule),
    "minItems": simple(lambda value, rule: len(value) >= rule),
    "minimum": simple(lambda value, rule: value >= rule),
    "maximum": simple(lambda value, rule: value <= rule),
    "exclusiveMinimum": simple(lambda value, rule: value > rule),
    "exclusiveMaximum": simple(lambda value, rule: value < rule),
}
