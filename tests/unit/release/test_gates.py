"""Release: every gate that is shut is named, evidence counts for one revision only, and the record says who, when and on what."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import LockError
from moderation.policy.lint import Finding
from moderation.policy.schema import Policy
from moderation.release.gates import Evidence, shut_gates
from moderation.release.record import (
    Change,
    Record,
    encode_record,
    plain,
    read_record,
    record_path,
    status_beside,
)
from tests.fakes import action, lock
from tests.policy_text import POLICY, load

CERTIFIED = lock("weapons", actions=(action("review", 0.5),))
AUDIT = """\
audit:
  attributes: [{name: group, about: depicted, source: annotators}]
  harms: [{name: wrongful, metric: fpr, tolerance: 0.1, set_by: lead, why: capacity}]
"""
PASSED = {"revision": CERTIFIED.revision, "passed": True}


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return load(tmp_path, POLICY + AUDIT)


def audit(verdict: str = "pass", *, required: bool = False, **changes: Any) -> dict[str, Any]:
    harm = {"name": "wrongful", "attribute": "group", "verdict": verdict, "required": required}
    return {"revision": CERTIFIED.revision, "harms": [harm], **changes}


def gates(
    policy: Policy, to: Any = "live", *, found=CERTIFIED, tests=PASSED, audited=None, findings=(), **options: Any
) -> list[str]:
    evidence = Evidence(findings, tests, audit() if audited is None else audited)
    return [one.gate for one in shut_gates(policy, found, evidence, to, **options)]


def test_with_everything_in_order_nothing_stands_in_the_way(policy: Policy) -> None:
    assert gates(policy) == []
    assert gates(policy, "shadow", tests=None, audited={}) == []


def test_all_that_is_missing_is_named_at_once(policy: Policy) -> None:
    wrong = Finding(policy.path, 3, 1, "L008", "error", "no contrast", "add some")
    uncertified = lock("weapons", actions=(action("remove", None), action("review", None)))
    evidence = Evidence([wrong], None, None)
    found = shut_gates(policy, uncertified, evidence, "live")
    assert [one.gate for one in found] == ["lint", "certify", "certify", "test", "audit"]
    assert all(one.command.startswith("moderation policy ") for one in found)
    assert [one.gate for one in shut_gates(policy, uncertified, evidence, "shadow")] == ["lint", "certify", "certify"]
    assert shut_gates(policy, uncertified, evidence, "deprecated") == []


@pytest.mark.parametrize(
    ("tests", "audited", "shut"),
    [
        ({"revision": "another", "passed": True}, None, ["test"]),
        ({"revision": CERTIFIED.revision, "passed": False}, None, ["test"]),
        ({"revision": CERTIFIED.revision}, None, ["test"]),
        (PASSED, audit(revision="another"), ["audit"]),
        (PASSED, audit("fail"), ["audit"]),
        (PASSED, audit("insufficient evidence"), []),
        (PASSED, audit("insufficient evidence", required=True), ["audit"]),
        (PASSED, audit("not assessed", required=True), ["audit"]),
    ],
)
def test_evidence_counts_for_its_own_revision_and_for_what_it_shows(
    policy: Policy, tests: dict[str, Any], audited: dict[str, Any] | None, shut: list[str]
) -> None:
    assert gates(policy, tests=tests, audited=audited) == shut


def test_a_policy_without_an_audit_needs_a_reason(tmp_path: Path) -> None:
    plain_policy = load(tmp_path)
    assert gates(plain_policy) == ["audit"]
    assert gates(plain_policy, no_audit_reason="  ") == ["audit"]
    assert gates(plain_policy, no_audit_reason="nobody is shown") == []


def change(status: Any, revision: str = CERTIFIED.revision) -> Change:
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
    assert status_beside(CERTIFIED, file) == "draft"
    record_path(file).write_text(encode_record(Record("weapons", (change("live"),))), encoding="utf-8")
    assert status_beside(CERTIFIED, file) == "live"
    assert status_beside(lock("weapons", version="1.0.1"), file) == "draft"
    record_path(file).write_text(encode_record(Record("fire", (change("live"),))), encoding="utf-8")
    with pytest.raises(LockError, match="is of policy 'fire'"):
        status_beside(CERTIFIED, file)


def test_when_another_build_goes_live_the_one_before_is_no_longer(tmp_path: Path) -> None:
    both = Record("weapons", (change("live"), change("live", "another")))
    assert both.status_of(CERTIFIED) == "deprecated"
    beside = Record("weapons", (change("shadow"), change("live", "another")))
    assert beside.status_of(CERTIFIED) == "shadow"


def test_a_candidate_in_shadow_leaves_the_live_build_live() -> None:
    assert Record("weapons", (change("live"), change("shadow", "another"))).status_of(CERTIFIED) == "live"
    given_up = (change("live"), change("shadow", "another"), change("deprecated", "another"))
    assert Record("weapons", given_up).status_of(CERTIFIED) == "live"
    again = (change("live"), change("live", "another"), change("live"))
    assert Record("weapons", again).status_of(CERTIFIED) == "live"
