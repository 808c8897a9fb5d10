"""Test files: every mistake located and all at once, and silence that must not pass."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from moderation.decision import Outcome, Score, Severity
from moderation.errors import DataError, ExitCode
from moderation.item import Modality
from moderation.policy.decide import Cut, Finding, Terms, judge
from moderation.policy.lint import lint
from moderation.policy.loader import load_policy
from moderation.release.suite import Suite
from moderation.release.suite_file import check, json_schema, load_suites
from tests.policy_text import ACTIONS, POLICY
from tests.policy_text import write as write_policy

GOOD = """\
schema: policy-tests/v1
suite: weapons
cases:
  - {id: rifle, item: rifle.png, expect: at_least review}
  - {id: words, item: {text: a bunch of flowers}, expect: no_match, why: harmless}
pairs:
  - {id: toy-swap, a: rifle.png, b: note.txt, a_expect: match, b_expect: no_match}
degenerate: [blank, noise, corrupt]
todo:
  - {id: engraved-lighter, item: rifle.png, expect: no_match}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rifle.png").write_bytes(b"picture")
    (tmp_path / "note.txt").write_text("text")
    return tmp_path


def write(folder: Path, text: str, name: str = "weapons.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(*paths: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        load_suites(paths)
    assert caught.value.exit_code == ExitCode.DATA
    return [str(problem).removeprefix(f"{problem.path.parent}/") for problem in caught.value.problems]


def test_a_test_file_is_read_whole(folder: Path) -> None:
    (suite,) = load_suites([write(folder, GOOD)])
    rifle, words = (suite.read(case.item, id=case.id) for case in suite.cases)
    assert (rifle.id, rifle.parts[0].modality, rifle.parts[0].content) == ("rifle", Modality.IMAGE, b"picture")
    assert (words.parts[0].modality, words.parts[0].content) == (Modality.TEXT, b"a bunch of flowers")
    assert suite.read(suite.pairs[0].b, id="b").parts[0].modality is Modality.TEXT
    assert (suite.pairs[0].a_expect, suite.todo[0].id, len(suite.degenerate)) == ("match", "engraved-lighter", 3)


def test_all_mistakes_come_at_once_with_their_places(folder: Path) -> None:
    wrong = """\
suite: weapons
caes: []
cases:
  - {id: one, item: rifle.png, expect: matches}
  - {id: two, item: rifle.png}
  - {id: three, item: {path: a.png, text: b}, expect: match}
degenerate: [blank, noisy]
"""
    found = problems(write(folder, wrong))
    places = [":".join(one.split(":")[:3]) for one in found]
    assert places == [
        "weapons.yaml:2:1",
        "weapons.yaml:4:40",
        "weapons.yaml:5:5",
        "weapons.yaml:6:23",
        "weapons.yaml:7:21",
    ]
    assert "unknown key; did you mean 'cases'?" in found[0]
    assert "expected one of 'path' and 'text'" in found[3]


def test_a_missing_file_is_found_before_anything_runs(folder: Path) -> None:
    text = GOOD.replace("item: rifle.png, expect: at_least review", "item: rilfe.png, expect: at_least review")
    (found,) = problems(write(folder, text))
    assert found == f"weapons.yaml:4:23: T101: no file at {folder}/rilfe.png"


def test_an_absolute_path_is_refused(folder: Path) -> None:
    text = GOOD.replace("item: rifle.png, expect: at_least", "item: /etc/passwd, expect: at_least")
    (found,) = problems(write(folder, text))
    assert "expected a path relative to this file" in found


def test_ids_are_unique_across_sections(folder: Path) -> None:
    found = problems(write(folder, GOOD.replace("id: engraved-lighter", "id: rifle")))
    assert found == ["weapons.yaml:10:10: P104: id 'rifle' is also at line 4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suite: s\n", "holds no test beside `todo` and `degenerate`"),
        ("suite: s\ndegenerate: [blank]\n", "holds no test beside `todo` and `degenerate`"),
        ("suite: s\ncases: [{id: a, item: {text: a}, expect: match}]\n", "no test says what must not be flagged"),
        ("suite: s\ncases: [{id: a, item: {text: a}, expect: no_match}]\n", "no test says what must be flagged"),
        # What is only known to fail proves nothing about the other kind.
        (
            "suite: s\ncases: [{id: a, item: {text: a}, expect: match}]\ntodo: [{id: b, item: {text: a}, expect: no_match}]",
            "no test says what must not be flagged",
        ),
        ("- 1\n", "found no mapping at the top"),
        ("", "holds no document"),
    ],
)
def test_silence_does_not_pass(folder: Path, text: str, message: str) -> None:
    assert any(message in one for one in problems(write(folder, text)))


HEAD = "schema: policy-tests/v1\nsuite: s\n"
BOTH = ["must be flagged", "must not be flagged"]


@pytest.mark.parametrize(
    ("tests", "lacks"),
    [
        # A newcomer's suites: sets alone, and one case beside a benign set.
        (
            "capabilities: [{id: c, items: m.jsonl, expect: at_least review, floor: 0.5}]\nbenign: [{id: b, items: m.jsonl, cap: 0.01}]\ninvariance: [{id: i, items: m.jsonl, change: grayscale}]\ndegenerate: [blank]\n",
            [],
        ),
        ("cases: [{id: a, item: {text: a}, expect: at_least review}]\nbenign: [{id: b, items: m.jsonl, cap: 0.01}]\n", []),
        ("cases: [{id: a, item: {text: a}, expect: match}]\nbenign: [{id: b, items: m.jsonl, cap: 1}]\n", BOTH[1:]),
        ("cases: [{id: a, item: {text: a}, expect: match}]\ndegenerate: [blank]\n", BOTH[1:]),
        ("benign: [{id: b, items: m.jsonl, cap: 0.01}]\n", BOTH[:1]),
        ("capabilities: [{id: c, items: m.jsonl, expect: match, floor: 0.0}]\n", BOTH),
        ("stability: [{id: s, items: m.jsonl}]\n", BOTH),
    ],
)  # fmt: skip
def test_sets_say_which_way_they_go_and_lint_says_the_same(tmp_path: Path, tests: str, lacks: list[str]) -> None:
    policy = load_policy(write_policy(tmp_path, POLICY), action_names=ACTIONS)
    (tmp_path / "tests" / "m.jsonl").write_text("", encoding="utf-8")
    path = policy.tests[0]
    path.write_text(HEAD + tests, encoding="utf-8")
    found: list[str] = []
    if lacks:
        with pytest.raises(DataError) as caught:
            load_suites([path], policy=policy)
        found = [one.message for one in caught.value.problems if one.code == "T103"]
    else:
        load_suites([path], policy=policy)
    assert [message.partition(":")[0] for message in found] == [f"no test says what {one}" for one in lacks]
    linted = [one for one in lint(policy, today=dt.date(2026, 11, 23)) if one.code in {"P108", "P110"}]
    assert [one.code for one in linted] == (["P108"] if lacks == BOTH else ["P110"] if lacks else [])
    assert all(cure in linted[0].fix for cure in (message.rpartition("; ")[2] for message in found))


def test_the_two_kinds_may_stand_in_two_files(folder: Path) -> None:
    one = write(folder, "suite: s\ncases: [{id: a, item: {text: a}, expect: match}]\n", "one.yaml")
    two = write(folder, "suite: s\ncases: [{id: a, item: {text: a}, expect: no_match}]\n", "two.yaml")
    assert len(load_suites([one, two])) == 2


def test_no_file_at_all_does_not_pass() -> None:
    with pytest.raises(DataError, match="no test file"):
        load_suites([])


def test_a_file_that_vanished_is_a_located_error(folder: Path) -> None:
    (suite,) = load_suites([write(folder, GOOD)])
    (folder / "rifle.png").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        suite.read(suite.cases[0].item, id="rifle")


@pytest.mark.parametrize("value", [0.0, 0.5, 0.999999, 1.0])
def test_match_is_never_the_answer_of_a_policy_that_only_asks_for_review(folder: Path, value: float) -> None:
    order, cuts = ("allow", "label", "review", "remove"), (Cut("review", 0.5),)
    terms = Terms("p", "1.0.0", "r", "draft", Severity.LOW, "review", cuts, 1)
    assert judge(terms, [Finding("0", Score("p", value))], parts=1, order=order).outcome is not Outcome.MATCH
    text = """suite: s
cases:
  - {id: a, item: {text: a}, expect: match}
  - {id: b, item: {text: a}, expect: no_match}
pairs:
  - {id: c, a: {text: a}, b: {text: b}, a_expect: review, b_expect: match}
todo:
  - {id: d, item: {text: a}, expect: match}
"""
    only_review = "  - {action: review, guarantee: {metric: recall, at_least: 0.9, confidence: 0.9}}\n"
    both = load_policy(write_policy(folder / "both"), action_names=ACTIONS)
    removes = POLICY[POLICY.index("  - {action: remove") : POLICY.index("on_error")]
    alone = load_policy(write_policy(folder / "alone", POLICY.replace(removes, only_review)), action_names=ACTIONS)
    found = check(write(folder, text), policy=alone)
    assert [(one.line, one.code) for one in found] == [(3, "T104"), (6, "T104"), (8, "T104")]
    assert check(write(folder, text), policy=both) == []


def test_the_schema_for_editors_knows_every_key_and_refuses_others() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"schema", *(name for name in Suite.model_fields if name != "schema_")}
    assert schema["$defs"]["Case"]["required"] == ["id", "item", "expect"]
