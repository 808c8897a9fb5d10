"""One parent: lists change by id, other keys are replaced whole, and a promise is not loosened in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.errors import PolicyError
from moderation.policy.loader import load_policies, load_policy
from moderation.policy.schema import Policy
from tests.policy_text import ACTIONS, POLICY, only, refused, with_line, write

HEAD = "schema: policy/v1\nid: knives\nextends: weapons\n"


def child(folder: Path, text: str, *, parent: str = POLICY, name: str = "knives.yaml") -> Path:
    write(folder, parent)
    return write(folder, HEAD + text, name=name)


def loaded(folder: Path, text: str, *, parent: str = POLICY) -> Policy:
    return load_policy(child(folder, text, parent=parent), action_names=ACTIONS)


def test_what_is_not_written_is_inherited_and_what_is_written_replaces_it_whole(tmp_path: Path) -> None:
    policy = loaded(tmp_path, "title: Knives\nscope: {modalities: [text]}\n")
    assert (policy.id, policy.title, policy.owner) == ("knives", "Knives", "marketplace-safety")
    assert policy.scope.modalities == ("text",)
    assert policy.scope.languages == ()  # not merged with the parent's
    assert policy.extends == "weapons"


def test_entries_are_added_replaced_and_removed_by_id(tmp_path: Path) -> None:
    policy = loaded(
        tmp_path,
        """\
add:
  concepts.violating: [{id: knife, covers: [v2], phrases: [a combat knife]}]
  definition.violates: [{id: v2, text: A combat knife.}]
  detectors: [keywords]
  tests: [tests/knives.yaml]
replace:
  concepts.contrast: [{id: toy, covers: [a1], phrases: [a rubber knife]}]
remove:
  concepts.violating: [firearm]
  definition.violates: [v1]
""",
    )
    assert [(one.id, one.phrases) for one in policy.concepts.violating] == [("knife", ("a combat knife",))]
    assert [(one.id, one.phrases) for one in policy.concepts.contrast] == [("toy", ("a rubber knife",))]
    assert [one.id for one in policy.definition.violates] == ["v2"]
    assert policy.detectors == ("keywords",)
    assert [path.name for path in policy.tests] == ["weapons.yaml", "knives.yaml"]


def test_removing_and_adding_one_id_makes_a_new_entry_at_the_end(tmp_path: Path) -> None:
    actions = (
        "remove: {actions: [remove]}\n"
        "add: {actions: [{action: remove, guarantee: {metric: precision, at_least: 0.99, confidence: 0.95}}]}\n"
    )
    policy = loaded(tmp_path, actions)
    assert [(one.action, one.guarantee.at_least) for one in policy.actions] == [("review", 0.9), ("remove", 0.99)]


def test_paths_are_relative_to_the_file_that_writes_them(tmp_path: Path) -> None:
    write(tmp_path / "base", POLICY + "data: {fit: data/fit.jsonl}\n")
    path = write(tmp_path / "shop", HEAD.replace("weapons", "../base/weapons.yaml"), name="knives.yaml")
    policy = load_policy(path, action_names=ACTIONS)
    assert policy.data.fit == tmp_path / "base" / "data" / "fit.jsonl"


def test_a_child_means_the_same_as_the_policy_written_out(tmp_path: Path) -> None:
    written = with_line("id", "id: knives", with_line("title", "title: Knives"))
    whole = load_policy(write(tmp_path, written, name="whole.yaml"), action_names=ACTIONS)
    assert loaded(tmp_path, "title: Knives\n").content_hash == whole.content_hash


def test_grandparents_are_inherited_from(tmp_path: Path) -> None:
    child(tmp_path, "title: Knives\n")
    path = write(tmp_path, "schema: policy/v1\nid: daggers\nextends: knives.yaml\n", name="daggers.yaml")
    policy = load_policy(path, action_names=ACTIONS)
    assert (policy.id, policy.title, policy.severity) == ("daggers", "Knives", "high")


@pytest.mark.parametrize(
    ("text", "line", "column", "code", "said"),
    [
        ("add: {concepts.violating: [{id: firearm, phrases: [x]}]}\n", 4, 28, "P104", "use replace"),
        ("replace: {concepts.violating: [{id: firearms, phrases: [x]}]}\n", 4, 32, "P106", "mean 'firearm'?"),
        ("remove: {concepts.contrast: [tooy]}\n", 4, 30, "P106", "did you mean 'toy'?"),
        ("remove: {concepts.contrast: [{id: toy}]}\n", 4, 30, "P106", "expected an id"),
        ("add: {concepts.contrast: [{phrases: [x]}]}\n", 4, 27, "P106", "with its id"),
        ("add: {concept.contrast: []}\n", 4, 7, "P106", "did you mean 'concepts.contrast'?"),
        ("add: [x]\n", 4, 6, "P106", "expected a mapping"),
        ("add: {concepts.contrast: x}\n", 4, 26, "P106", "expected a list"),
        ("replace: {tests: [x.yaml]}\n", 4, 11, "P106", "remove and add"),
        ("tests: [t.yaml]\nadd: {tests: [x.yaml]}\n", 5, 7, "P106", "choose one"),
        ("titel: Knives\n", 4, 1, "P101", "did you mean 'title'?"),
        ("version: 1.0\n", 4, 10, "P103", "1.0.0"),
        ("remove: {definition.allowed: [a1]}\n", 3, 10, "P105", "inherited from weapons.yaml:14"),
    ],
)
def test_a_wrong_change_is_a_problem_of_the_child(
    tmp_path: Path, *, text: str, line: int, column: int, code: str, said: str
) -> None:
    problem = only(child(tmp_path, text))
    assert (problem.path.name, problem.line, problem.column, problem.code) == ("knives.yaml", line, column, code)
    assert said in problem.message


def test_a_mistake_of_the_parent_is_located_in_the_parent(tmp_path: Path) -> None:
    path = child(tmp_path, "titel: x\n", parent=with_line("severity", "severity: grave").replace("[v1]", "[v9]"))
    problems = [(one.path.name, one.line, one.code) for one in refused(path)]
    assert problems == [("knives.yaml", 4, "P101"), ("weapons.yaml", 7, "P103"), ("weapons.yaml", 13, "P105")]


@pytest.mark.parametrize("parent", ["knives", "./knives.yaml", "../x/knives", "nothing", "/weapons", "[weapons]", "''"])
def test_a_parent_must_be_another_file_that_is_there(tmp_path: Path, parent: str) -> None:
    path = write(tmp_path / "x", HEAD.replace("weapons", parent), name="knives.yaml")
    problems = refused(path)
    assert (problems[0].line, problems[0].code) == (3, "P106")
    assert {one.code for one in problems} <= {"P106", "P103"}  # what a parent would bring is not missed


def test_a_cycle_of_two_is_refused(tmp_path: Path) -> None:
    write(tmp_path, HEAD.replace("knives", "a").replace("weapons", "b"), name="a.yaml")
    path = write(tmp_path, HEAD.replace("knives", "b").replace("weapons", "a"), name="b.yaml")
    assert any("its own ancestor: b.yaml -> a.yaml -> b.yaml" in one.message for one in refused(path))


def test_an_operation_without_a_parent_is_refused(tmp_path: Path) -> None:
    problem = only(write(tmp_path, POLICY + "add: {tests: [x.yaml]}\n"))
    assert (problem.line, problem.code) == (21, "P106")
    assert "extends nothing" in problem.message


PROMISE = "- {action: remove, guarantee: {metric: precision, at_least: 0.95, confidence: 0.95}}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("remove: {actions: [review]}\n", "the action is gone"),
        (f"replace: {{actions: [{PROMISE[2:].replace('0.95,', '0.9,')}]}}\n", "at_least fell from 0.95 to 0.9"),
        (f"replace: {{actions: [{PROMISE[2:].replace('ce: 0.95', 'ce: 0.9')}]}}\n", "confidence fell"),
        (f"replace: {{actions: [{PROMISE[2:].replace('precision', 'recall')}]}}\n", "precision became recall"),
        (f"actions:\n  {PROMISE}\n", "the action is gone"),
        (
            "replace: {actions: [{action: review, guarantee: {metric: recall, at_least: 0.9, confidence: 0.9}}]}\n",
            "budget grew from 0.02 to no limit",
        ),
    ],
)
def test_promising_less_than_the_parent_needs_a_reason(tmp_path: Path, text: str, said: str) -> None:
    problem = only(child(tmp_path, text))
    assert (problem.path.name, problem.line, problem.code) == ("knives.yaml", 3, "P106")
    assert said in problem.message
    assert load_policy(child(tmp_path, text + "reason: a pilot\n"), action_names=ACTIONS).reason == "a pilot"


AUDITED = """\
audit:
  attributes: [{name: group, about: depicted, source: annotators}]
  harms: [{name: wrongful, metric: fpr, tolerance: 0.1, set_by: lead, why: capacity, required: true}]
"""
HARM = "{name: wrongful, metric: fpr, tolerance: 0.1, set_by: lead, why: capacity, required: true}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("explainable: false\n", "explains less than its parent (explainable is gone)"),
        (f"replace: {{audit.harms: [{HARM.replace('0.1', '0.2')}]}}\n", "tolerance grew from 0.1 to 0.2"),
        (f"replace: {{audit.harms: [{HARM.replace(', required: true', '')}]}}\n", "it is no longer required"),
        (
            f"remove: {{audit.harms: [wrongful]}}\nadd: {{audit.harms: [{HARM.replace('wrongful', 'other')}]}}\n",
            "the harm is gone",
        ),
    ],
)
def test_explaining_or_auditing_less_than_the_parent_needs_a_reason(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, POLICY + AUDITED + ("explainable: true\n" if "explainable" in text else ""))
    path = write(tmp_path, HEAD + text, name="knives.yaml")
    problem = only(path)
    assert (problem.path.name, problem.line, problem.code) == ("knives.yaml", 3, "P106")
    assert said in problem.message
    path.write_text(HEAD + text + "reason: a pilot\n", encoding="utf-8")
    assert load_policy(path, action_names=ACTIONS).reason == "a pilot"


def test_promising_more_needs_none(tmp_path: Path) -> None:
    text = f"replace: {{actions: [{PROMISE[2:].replace('0.95', '0.99')}]}}\n"
    assert loaded(tmp_path, text).actions[0].guarantee.at_least == 0.99


BASE = "schema: policy-base/v1\nowner: marketplace-safety\non_error: review\nrollout: {share: 0.5}\n"


def test_a_base_may_be_incomplete_and_is_no_policy_of_its_own(tmp_path: Path) -> None:
    base = write(tmp_path, BASE, name="base.yaml")
    text = with_line("on_error", None, with_line("owner", None, POLICY))
    policy = load_policy(write(tmp_path, text + "extends: base\n"), action_names=ACTIONS)
    assert (policy.owner, policy.on_error, policy.rollout.share) == ("marketplace-safety", "review", 0.5)
    assert "only for policies to extend" in only(base).message
    assert [one.id for one in load_policies([tmp_path], action_names=ACTIONS)] == ["weapons"]


def test_a_base_in_a_folder_is_checked_for_what_it_does_say(tmp_path: Path) -> None:
    write(tmp_path, BASE.replace("share: 0.5", "share: 5"), name="base.yaml")
    with pytest.raises(PolicyError) as caught:
        load_policies([tmp_path], action_names=ACTIONS)
    assert [(one.line, one.code) for one in caught.value.problems] == [(4, "P103")]
