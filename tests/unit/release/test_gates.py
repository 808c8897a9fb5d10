"""Release: every gate that is shut is named, evidence counts for one revision only, and the record says who, when and on what."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import LockError
from moderation.policy.inputs import digest_inputs
from moderation.policy.lint import Finding
from moderation.policy.lock import Lock, LockedAction
from moderation.policy.schema import Policy
from moderation.release.gates import Evidence, Missing, shut_gates
from moderation.release.record import (
    Change,
    Record,
    encode_record,
    plain,
    read_record,
    record_path,
    status_beside,
)
from tests.fakes import lock
from tests.policy_text import POLICY, load

BUILD = lock("weapons")
PROMISES = (
    LockedAction("remove", "precision", 0.95, 0.95, threshold=0.9, certificate={"threshold": 0.9}),
    LockedAction("review", "recall", 0.9, 0.9, threshold=0.5, certificate={"threshold": 0.5}),
)
TARGETS = "data/weapons.certify.jsonl"
AUDITED = "data/weapons.audit.jsonl"
MORE = f"""\
data: {{certify: {TARGETS}, audit: {AUDITED}}}
audit:
  attributes: [{{name: group, about: depicted, source: annotators}}, {{name: age, about: depicted, source: annotators}}]
  harms:
    - {{name: wrongful, metric: fpr, tolerance: 0.1, set_by: lead, why: capacity}}
    - {{name: missed, metric: fnr, tolerance: 0.1, set_by: lead, why: capacity, required: true}}
"""
HARMS = [(harm, attribute) for harm in ("wrongful", "missed") for attribute in ("group", "age")]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    (tmp_path / "data").mkdir()
    for name in (TARGETS, AUDITED):
        (tmp_path / name).write_text("{}\n", encoding="utf-8")
    return load(tmp_path, POLICY + MORE)


def inputs(policy: Policy, *files: str) -> dict[str, Any]:
    folder = policy.path.parent
    return {"inputs": digest_inputs([folder / name for name in files], folder)}


def certified(policy: Policy, **changes: Any) -> Lock:
    evidence = {
        "certify": inputs(policy, TARGETS),
        "fit": inputs(policy),
        "exemplars": inputs(policy),
        "background": inputs(policy),
    }
    return lock("weapons", **{"actions": PROMISES, "evidence": evidence, **changes})


def run_on(on: Policy, /, **changes: Any) -> dict[str, Any]:
    named = {"schema": "policy-tests-report/v1", "policy": "weapons", "revision": certified(on).revision}
    return {**named, "passed": True, **inputs(on, "tests/weapons.yaml"), **changes}


def audit(on: Policy, /, verdict: str = "pass", *, of: str = "wrongful", **changes: Any) -> dict[str, Any]:
    harms = [
        {"name": name, "attribute": attribute, "verdict": verdict if name == of else "pass"}
        for name, attribute in HARMS
    ]
    named = {"schema": "audit/v1", "policy": "weapons", "revision": certified(on).revision}
    return {**named, "harms": harms, **inputs(on, AUDITED), **changes}


def shut(
    policy: Policy,
    to: Any = "live",
    *,
    found: Lock | None = None,
    tests: dict[str, Any] | None = None,
    audited: dict[str, Any] | None = None,
    **options: Any,
) -> list[Missing]:
    evidence = Evidence((), tests or run_on(policy), audited or audit(policy))
    return shut_gates(policy, found or certified(policy), evidence, to, **options)


def gates(policy: Policy, to: Any = "live", **options: Any) -> list[str]:
    return [one.gate for one in shut(policy, to, **options)]


def test_with_everything_in_order_nothing_stands_in_the_way(policy: Policy) -> None:
    assert gates(policy) == []
    assert shut_gates(policy, certified(policy), Evidence((), None, None), "shadow") == []


def test_all_that_is_missing_is_named_at_once(policy: Policy) -> None:
    wrong = Finding(policy.path, 3, 1, "L008", "error", "no contrast", "add some")
    uncertified = lock("weapons", actions=tuple(replace(one, threshold=None) for one in PROMISES))
    evidence = Evidence([wrong], None, None)
    found = shut_gates(policy, uncertified, evidence, "live")
    assert [one.gate for one in found] == ["lint", "certify", "certify", "test", "audit"]
    assert all(one.command.startswith("moderation policy ") for one in found)
    assert [one.gate for one in shut_gates(policy, uncertified, evidence, "shadow")] == ["lint", "certify", "certify"]
    assert shut_gates(policy, uncertified, evidence, "deprecated") == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"revision": "another"}, ["test"]),
        ({"passed": False}, ["test"]),
        ({"passed": None}, ["test"]),
        ({"policy": "fire"}, ["test"]),
        ({"schema": "audit/v1"}, ["test"]),
        ({"inputs": {}}, ["test"]),
        ({"inputs": None}, ["test"]),
        ({"inputs": {"tests/weapons.yaml": "0" * 64}}, ["test"]),
    ],
)
def test_tests_count_for_the_build_and_the_files_that_they_were_run_on(
    policy: Policy, changes: dict[str, Any], expected: list[str]
) -> None:
    assert gates(policy, tests=run_on(policy, **changes)) == expected


@pytest.mark.parametrize(
    ("verdict", "of", "expected"),
    [
        ("fail", "wrongful", ["audit", "audit"]),
        ("insufficient evidence", "wrongful", []),
        ("not assessed", "wrongful", []),
        ("insufficient evidence", "missed", ["audit", "audit"]),
        ("not assessed", "missed", ["audit", "audit"]),
        ("excellent", "wrongful", ["audit", "audit"]),
    ],
)
def test_a_failure_shuts_the_gate_and_a_required_harm_has_to_pass(
    policy: Policy, verdict: str, of: str, expected: list[str]
) -> None:
    assert gates(policy, audited=audit(policy, verdict, of=of)) == expected


@pytest.mark.parametrize("harms", [None, [], {}, "x", [1], [{"name": "wrongful"}], [{"name": [], "verdict": {}}]])
def test_a_harm_that_the_audit_does_not_speak_of_is_not_passed(policy: Policy, harms: Any) -> None:
    assert gates(policy, audited=audit(policy, harms=harms)) == ["audit"] * 4
    left_out = [one for one in audit(policy)["harms"] if one["attribute"] != "age"]
    (first, second) = shut(policy, audited=audit(policy, harms=left_out))
    assert first.why == "wrongful by age: the report does not speak of it"
    assert second.why == "missed by age: the report does not speak of it"


@pytest.mark.parametrize("changes", [{"revision": "another"}, {"policy": "fire"}, {"schema": "x"}, {"inputs": {}}])
def test_an_audit_counts_for_its_own_build_and_items(policy: Policy, changes: dict[str, Any]) -> None:
    assert gates(policy, audited=audit(policy, **changes)) == ["audit"]


@pytest.mark.parametrize(("name", "gate"), [(TARGETS, "certify"), (AUDITED, "audit"), ("tests/weapons.yaml", "test")])
def test_evidence_about_files_that_changed_since_is_none(policy: Policy, name: str, gate: str) -> None:
    found, tests, audited = certified(policy), run_on(policy), audit(policy)
    path = policy.path.parent / name
    path.write_text(path.read_text() + "\n", encoding="utf-8")
    (one,) = shut(policy, found=found, tests=tests, audited=audited)
    assert (one.gate, one.why) == (gate, f"{name} reads otherwise than when the evidence was made")
    path.unlink()
    assert gates(policy, found=found, tests=tests, audited=audited) == [gate]


@pytest.mark.parametrize("certificate", [None, {}, {"threshold": 0.91}])
def test_a_threshold_without_its_certificate_is_no_promise(
    policy: Policy, certificate: dict[str, float] | None
) -> None:
    bare = (replace(PROMISES[0], certificate=certificate), PROMISES[1])
    (one, *_) = shut(policy, "shadow", found=certified(policy, actions=bare))
    assert (one.gate, one.why) == ("certify", "remove: precision at least 0.95 is not certified")


def test_what_the_targets_cannot_show_is_not_asked_again(policy: Policy) -> None:
    short = replace(PROMISES[0], threshold=None, certificate=None, shortfall={"reason": "too few"})
    never = replace(PROMISES[1], threshold=None, certificate=None)
    told = shut(policy, "shadow", found=certified(policy, actions=(short, never)))
    assert [(one.gate, one.why, one.command.split()[2], one.of_a_build) for one in told] == [
        ("certify", "review: recall at least 0.9 is not certified", "certify", True),
        ("certify", "remove: precision at least 0.95 takes more targets, or a lower promise", "plan", False),
    ]


def test_what_other_targets_could_not_show_is_asked_again(policy: Policy) -> None:
    short = (replace(PROMISES[0], threshold=None, certificate=None, shortfall={"reason": "too few"}), PROMISES[1])
    found = certified(policy, actions=short)
    for lower in (replace(short[0], at_least=0.5), short[0]):
        (first, *_) = shut(policy, "shadow", found=replace(found, actions=(lower, PROMISES[1])))
        assert first.command.split()[2] == ("plan" if lower == short[0] else "certify")
    (policy.path.parent / TARGETS).write_text("{}\n{}\n", encoding="utf-8")
    (one,) = shut(policy, "shadow", found=found)
    assert (one.why, one.command.split()[2]) == ("remove: precision at least 0.95 is not certified", "certify")


@pytest.mark.parametrize("part", ["fit", "exemplars", "background"])
def test_a_lock_that_was_compiled_from_other_files_is_compiled_again(policy: Policy, part: str) -> None:
    evidence = {**certified(policy).evidence, part: {"inputs": {AUDITED: "0" * 64}}}
    found = certified(policy, evidence=evidence)
    told = shut_gates(policy, found, Evidence((), None, None), "shadow")
    assert [(one.gate, one.why) for one in told] == [
        ("compile", f"{AUDITED} reads otherwise than when the evidence was made")
    ]


def test_an_audit_that_failed_on_other_items_is_not_undone_by_a_smaller_one(policy: Policy) -> None:
    failures = [{"date": "2026-11-28", "data": "0" * 64}]
    (one,) = shut(policy, audited=audit(policy, failures=failures))
    assert (one.gate, one.why.startswith("an audit of this very build failed on 2026-11-28")) == ("audit", True)
    assert gates(policy, audited=audit(policy, failures="x")) == ["audit"]


@pytest.mark.parametrize(
    "actions", [(), PROMISES[:1], (*PROMISES, PROMISES[0]), (replace(PROMISES[0], at_least=0.5), PROMISES[1])]
)
def test_a_lock_that_promises_something_else_is_not_certified(
    policy: Policy, actions: tuple[LockedAction, ...]
) -> None:
    (one, *_) = shut(policy, "shadow", found=certified(policy, actions=actions))
    assert (one.gate, one.why) == ("certify", "the lock's promises are not those of the policy")


def test_a_policy_without_an_audit_needs_a_reason(tmp_path: Path) -> None:
    bare = load(tmp_path)
    found = certified(bare)
    tests = run_on(bare, revision=found.revision)
    assert gates(bare, found=found, tests=tests) == ["audit"]
    assert gates(bare, found=found, tests=tests, no_audit_reason="  ") == ["audit"]
    assert gates(bare, found=found, tests=tests, no_audit_reason="nobody is shown") == []


def change(status: Any, revision: str = BUILD.revision) -> Change:
    return Change(
        status, revision, "f" * 64, dt.datetime(2026, 11, 24, tzinfo=dt.UTC).isoformat(), "team", "why", {"a": "b"}
    )


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = Record("weapons", (change("shadow"), change("live")))
    path = tmp_path / "weapons.release.json"
    path.write_text(encode_record(record), encoding="utf-8")
    assert read_record(path) == record
    assert plain(record)["schema"] == "release/v1"
    assert read_record(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema": "release/v1", "policy": "weapons", "changes": []}', '{"schema": "x"}']
)
def test_a_record_edited_by_hand_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "weapons.release.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(LockError, match="release record"):
        read_record(path)


def test_only_the_very_build_that_was_released_has_the_status(tmp_path: Path) -> None:
    file = tmp_path / "weapons.lock.json"
    assert status_beside(BUILD, file) == "draft"
    record_path(file).write_text(encode_record(Record("weapons", (change("live"),))), encoding="utf-8")
    assert status_beside(BUILD, file) == "live"
    assert status_beside(lock("weapons", version="1.0.1"), file) == "draft"
    record_path(file).write_text(encode_record(Record("fire", (change("live"),))), encoding="utf-8")
    with pytest.raises(LockError, match="is of policy 'fire'"):
        status_beside(BUILD, file)


def test_when_another_build_goes_live_the_one_before_is_no_longer(tmp_path: Path) -> None:
    both = Record("weapons", (change("live"), change("live", "another")))
    assert both.status_of(BUILD) == "deprecated"
    beside = Record("weapons", (change("shadow"), change("live", "another")))
    assert beside.status_of(BUILD) == "shadow"


def test_a_candidate_in_shadow_leaves_the_live_build_live() -> None:
    assert Record("weapons", (change("live"), change("shadow", "another"))).status_of(BUILD) == "live"
    given_up = (change("live"), change("shadow", "another"), change("deprecated", "another"))
    assert Record("weapons", given_up).status_of(BUILD) == "live"
    again = (change("live"), change("live", "another"), change("live"))
    assert Record("weapons", again).status_of(BUILD) == "live"
