"""Loading policies: everything that is wrong is said at once, where it stands, and what is right arrives whole."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from moderation.decision import Severity
from moderation.errors import ExitCode, PolicyError
from moderation.item import Modality
from moderation.policy.loader import load_policies, load_policy
from moderation.policy.yaml_source import MAX_BYTES
from tests.policy_text import ACTIONS, POLICY, load, only, refused, with_line, write


def test_every_field_arrives(tmp_path: Path) -> None:
    more = """\
basis: {kind: terms, reference: section 4.2}
encoder: text
detectors: [keywords]
exemplars: {violating: data/pos.jsonl}
data: {fit: data/fit.jsonl, certify: ../shared/certify.jsonl}
quota: {per_hour: 500, then: review}
rollout: {share: 0.5}
audit:
  attributes: [{name: skin_tone, about: depicted, source: annotators}, {name: age, about: author, source: account}]
  intersections: [[skin_tone, age]]
  clusters: author
  harms: [{name: wrongful, metric: fpr, tolerance: 0.005, set_by: policy-lead, why: appeals capacity}]
"""
    policy = load(tmp_path, POLICY + more)
    assert (policy.id, policy.title, policy.version) == ("weapons", "Weapons offered for sale", "1.0.0")
    assert (policy.owner, policy.review_by) == ("marketplace-safety", dt.date(2027, 3, 1))
    assert policy.severity is Severity.HIGH
    assert policy.scope.modalities == (Modality.IMAGE,)
    assert policy.concepts.violating[0].phrases == ("a handgun", "a rifle")
    assert policy.concepts.contrast[0].covers == ("a1",)
    assert policy.actions[1].guarantee.metric == "recall"
    assert policy.actions[1].budget == 0.02
    assert policy.data.fit == tmp_path / "data" / "fit.jsonl"
    assert policy.data.certify == tmp_path.parent / "shared" / "certify.jsonl"
    assert policy.tests == (tmp_path / "tests" / "weapons.yaml",)
    assert policy.exemplars.contrast is None
    assert (policy.basis, policy.quota, policy.audit) != (None, None, None)
    assert (policy.encoder, policy.detectors, policy.rollout.share) == ("text", ("keywords",), 0.5)
    assert policy.path == tmp_path / "weapons.yaml"


def test_five_mistakes_are_five_located_problems_in_one_run(tmp_path: Path) -> None:
    text = with_line("title", "titel: Weapons")
    text = with_line("severity", "severity: grave", text)
    text = with_line("owner", "owner: no", text)
    text = text.replace("covers: [v1]", "covers: [v2]").replace("at_least: 0.95", "at_least: 1.95")
    path = write(tmp_path, text)
    problems = refused(path)
    lines = [str(problem) for problem in problems]
    assert [line.removeprefix(f"{path}:").split(": ")[0:2] for line in lines] == [
        ["3:1", "P101"],
        ["5:8", "Y006"],
        ["7:11", "P103"],
        ["13:38", "P105"],
        ["17:63", "P103"],
    ]
    assert "did you mean 'title'?" in lines[0]
    assert PolicyError.exit_code is ExitCode.POLICY


@pytest.mark.parametrize(
    "key",
    ["schema", "id", "title", "version", "owner", "review_by", "severity", "scope", "prevalence", "on_error", "tests"],
)
def test_a_required_field_is_missed_by_name(tmp_path: Path, key: str) -> None:
    problem = only(write(tmp_path, with_line(key, None)))
    assert problem.code == "P102"
    assert problem.message.startswith(f"{key}: is missing")


@pytest.mark.parametrize(
    ("key", "line", "column", "code", "said"),
    [
        ("title", "title: 7", 8, "P103", 'quote it, "7"'),
        ("title", "title: true", 8, "P103", 'quote it, "true"'),
        ("title", "title: 2027-03-01", 8, "P103", 'quote it, "2027-03-01"'),
        ("title", "title: yes", 8, "Y006", "quote"),
        ("title", "title: [a]", 8, "P103", "expected a text"),
        ("title", "title: ' '", 8, "P103", "not blank"),
        ("title", "title:", 1, "P103", "found nothing"),
        ("id", "id: Weapons For Sale", 5, "P103", "lower-case"),
        ("id", "id: -x", 5, "P103", "lower-case"),
        ("version", "version: 1.0", 10, "P103", "expected three numbers such as 1.0.0"),
        ("version", "version: '1.0'", 10, "P103", "three numbers"),
        ("review_by", "review_by: soon", 12, "P103", "a day such as"),
        ("review_by", "review_by: 20270301", 12, "P103", "a day such as"),
        ("review_by", "review_by: 2027-02-30", 12, "Y006", "not a day"),
        ("severity", "severity: 3", 11, "P103", "'critical'"),
        ("scope", "scope: {modalities: [image, video]}", 29, "P103", "'image' or 'text'"),
        ("scope", "scope: {modalities: []}", 21, "P103", "at least 1"),
        ("scope", "scope: {modalities: [image, image]}", 29, "P104", "twice"),
        ("scope", "scope: {modalities: [image], languages: [no]}", 42, "Y006", "quote"),
        ("scope", "scope: {modalities: [image], languages: [english!]}", 42, "P103", "pt-BR"),
        ("scope", "scope: {modalities: [image], languages: [en, xx]}", 46, "P103", "registered language"),
        ("scope", "scope: {modalities: [text], languages: [und]}", 41, "P103", "registered language"),
        ("scope", "scope: [image]", 8, "P103", "expected a mapping"),
        ("prevalence", "prevalence: {low: 0.2, high: 0.1, source: x, n: 9}", 19, "P105", "low <= high"),
        ("prevalence", "prevalence: {low: 0.1, high: 1.1, source: x, n: 9}", 30, "P103", "1.1"),
        ("prevalence", "prevalence: {low: 0, high: 0, source: x, n: 9}", 28, "P103", "greater than 0"),
        ("prevalence", "prevalence: {low: 0.1, high: 0.2, source: x, n: 1.5}", 49, "P103", "whole number"),
        ("prevalence", "prevalence: {low: 0.1, high: 0.2, source: x, n: true}", 49, "P103", "found true"),
        ("on_error", "on_error: reveiw", 11, "P105", "did you mean 'review'?"),
        ("tests", "tests: []", 8, "P108", "at least 1"),
        ("tests", "tests: tests/weapons.yaml", 8, "P103", "a list"),
        ("tests", "tests: [/etc/passwd]", 9, "P103", "relative"),
        ("tests", "tests: [~/weapons.yaml]", 9, "P103", "relative"),
        ("tests", 'tests: ["C:/x.yaml"]', 9, "P103", "relative"),
        ("tests", "tests: [tests\\weapons.yaml]", 9, "P103", "forward slashes"),
        ("tests", "tests: ['file://x']", 9, "P103", "relative"),
        ("tests", "tests: ['']", 9, "P103", "relative"),
        ("tests", "tests: [7]", 9, "P103", "found the number 7"),
        ("owner", "owner: x\ndetectors: [keywords, Keywords!]", 23, "P103", "such as keywords, or one label"),
        ("schema", "schema: policy/v2", 9, "P103", "'policy/v1'"),
        ("owner", "owner: x\nthreshold: 0.3", 1, "L016", "guarantee"),
        ("owner", "owner: x\nquota: {per_hour: 0, then: review}", 19, "P103", "greater than or equal to 1"),
        ("owner", "owner: x\nquota: {per_hour: 5, then: nothing}", 28, "P105", "expected one of allow"),
        ("owner", "owner: x\nquota: {per_hour: 5, then: remove}", 28, "P105", "the quota would change nothing"),
        ("owner", "owner: x\nquota: {per_hour: 5, then: label}", 28, "P105", "would be let pass"),
        ("owner", "owner: x\nquota: {per_hour: 5, then: allow}", 28, "P105", "would be let pass"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(
    tmp_path: Path, *, key: str, line: str, column: int, code: str, said: str
) -> None:
    problem = only(write(tmp_path, with_line(key, line)))
    assert (problem.column, problem.code) == (column, code)
    assert said in problem.message


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        ("{id: toy,", "{id: firearm,", "P104", "'firearm' is written twice; the first is at line 13"),
        ("{action: review,", "{action: remove,", "P104", "'remove' is written twice"),
        ("a water pistol", "A Handgun", "P104", "'A Handgun' is written twice"),
        ("covers: [a1]", "covers: [v1]", "P105", "no clause of definition.allowed; expected one of a1"),
        ("{action: remove,", "{action: allow,", "P105", "promise a stronger action"),
        ("at_least: 0.95", "at_least: 1", "P103", "less than 1"),
        ("confidence: 0.95", "confidence: 0.4", "P103", "0.5"),
        ("metric: precision", "metric: accuracy", "P103", "'precision' or 'recall'"),
        ("budget: 0.02", "budget: 0", "P103", "greater than 0"),
        ("budget: 0.02", "threshold: 0.02", "L016", "actions.2.threshold"),
        ("phrases: [a handgun, a rifle]", "phrases: []", "P103", "at least 1"),
        ("[a handgun, a rifle]", "[a handgun, 9]", "P103", "concepts.violating.1.phrases.2"),
        ("[a handgun, a rifle]", "[a handgun: a rifle]", "P103", "quote a text that holds ': '"),
        ("{id: v1, text", "{id: v1, txet", "P101", "did you mean 'text'?"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, old: str, new: str, code: str, said: str) -> None:
    assert old in POLICY
    problems = [one for one in refused(write(tmp_path, POLICY.replace(old, new))) if one.code == code]
    assert len(problems) == 1
    assert said in problems[0].message


def test_what_is_to_be_explained_needs_targets_to_learn_it_from(tmp_path: Path) -> None:
    problem = only(write(tmp_path / "a", POLICY + "explainable: true\n"))
    assert (problem.line, problem.column, problem.code) == (21, 14, "P102")
    assert "data.fit: is missing" in problem.message
    assert load(tmp_path / "b", POLICY + "explainable: true\ndata: {fit: data/fit.jsonl}\n").explainable
    assert load(tmp_path / "c", POLICY + "explainable: false\n").content_hash == load(tmp_path / "d").content_hash


def test_an_intersection_names_attributes_of_the_audit(tmp_path: Path) -> None:
    audit = """\
audit:
  attributes: [{name: gender, about: depicted, source: annotators}]
  intersections: [[gender, skin]]
  harms: [{name: h, metric: fpr, tolerance: 0.01, set_by: me, why: capacity}]
"""
    problem = only(write(tmp_path, POLICY + audit))
    assert (problem.line, problem.code) == (23, "P105")
    assert "'skin' is no attribute" in problem.message


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "7\n", "null\n"])
def test_a_document_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert only(write(tmp_path, text)).code == "P103"


def test_the_hash_is_that_of_the_meaning(tmp_path: Path) -> None:
    first = load(tmp_path / "a").content_hash
    lines = [line for line in POLICY.splitlines() if not line.startswith("owner")]
    same = "# a comment\n" + "\n".join(["owner: 'marketplace-safety'", *lines, "encoder: default", "detectors: []"])
    assert load(tmp_path / "b" / "c", same + "\n").content_hash == first
    assert load(tmp_path / "d", POLICY.replace("a rifle", "a long rifle")).content_hash != first
    assert load(tmp_path / "e", POLICY + "data: {fit: x.jsonl}\n").content_hash != first


def test_the_resolved_view_loads_as_the_same_policy(tmp_path: Path) -> None:
    import json

    policy = load(tmp_path / "a")
    again = load(tmp_path / "b", json.dumps(policy.resolved(), indent=1))
    assert again.content_hash == policy.content_hash


def test_a_field_is_located_or_the_nearest_one_above(tmp_path: Path) -> None:
    policy = load(tmp_path)
    phrase = policy.locate("concepts", "violating", 0, "phrases", 1)
    assert (phrase.line, phrase.column) == (13, 64)
    assert policy.locate("audit", "harms", 0).line == 1


def test_a_folder_is_loaded_in_order_with_the_problems_of_every_file(tmp_path: Path) -> None:
    write(tmp_path, POLICY, name="b.yaml")
    write(tmp_path, with_line("id", "id: other"), name="a.yml")
    (tmp_path / "notes.txt").write_text("not a policy", encoding="utf-8")
    assert [policy.id for policy in load_policies([tmp_path], action_names=ACTIONS)] == ["other", "weapons"]
    write(tmp_path, with_line("owner", None), name="c.yaml")
    write(tmp_path, POLICY, name="d.yaml")
    with pytest.raises(PolicyError) as caught:
        load_policies([tmp_path], action_names=ACTIONS)
    assert [(one.path.name, one.code) for one in caught.value.problems] == [("c.yaml", "P102"), ("d.yaml", "P104")]


def test_a_folder_without_policies_and_a_missing_file_are_problems(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyError) as caught:
        load_policies([tmp_path / "empty", tmp_path / "nothing.yaml"], action_names=ACTIONS)
    assert [one.code for one in caught.value.problems] == ["Y001", "Y001"]


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a" * (MAX_BYTES + 1))
    assert "larger than" in only(path).message


def test_policies_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_policy(write(tmp_path), action_names=ACTIONS).title = "other"  # type: ignore[misc]


def test_every_message_counts_the_entries_of_a_list_from_one(tmp_path: Path) -> None:
    """In one round the unknown key of an entry is told, in the next its value: it must be the same entry."""
    second = "{id: blade, covers: [v1], phrase: [x], phrases: 3}"
    path = write(tmp_path, POLICY.replace("phrases: [a handgun, a rifle]}]", f"phrases: [a handgun]}}, {second}]"))
    told = [one.message.split(": ")[0] for one in refused(path)]
    assert told == ["concepts.violating.2.phrase", "concepts.violating.2.phrases"]
