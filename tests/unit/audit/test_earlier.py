"""An audit beside earlier ones: what changed, and harms that were fixed after looking."""

from __future__ import annotations

import json

import pytest

from moderation.audit.earlier import Failure, Registration, recall, registrations
from tests.unit.audit.test_assess import usual, whole


def test_an_earlier_audit_stands_beside_this_one() -> None:
    before = json.loads(json.dumps(usual().to_dict()))
    before["harms"][0]["gaps"] = [{"difference": 0.5}]
    before["harms"][0]["verdict"] = "fail"
    before["harms"][0]["cells"][1]["rate"] = 0.75
    found = whole(earlier=recall(before)).earlier
    assert found is not None
    change, _ = found.changes  # by group, and by language
    assert (change.before, change.verdict_before) == (0.5, "fail")
    assert change.after != 0.5
    assert found.revision == before["revision"]
    assert (found.same_items, found.same_harms) == (True, True)
    moved = {one.group: (one.before, one.after) for one in change.groups}
    assert moved["a"][0] == 0.75
    assert moved["a"][1] != 0.75


def test_other_items_and_other_harms_are_told() -> None:
    before = json.loads(json.dumps(usual().to_dict()))
    before |= {"data": "0" * 64, "registered": "1" * 64, "harms": []}
    found = whole(earlier=recall(before)).earlier
    assert found is not None
    assert (found.same_items, found.same_harms) == (False, False)
    assert found.changes[0].verdict_before == "not there"


def test_a_failure_is_remembered_until_the_same_items_pass_or_another_build_comes() -> None:
    failed = json.loads(json.dumps(usual().to_dict()))
    failed["harms"][0]["verdict"] = "fail"
    failed["date"] = "2026-11-01"
    assert whole(before=recall(failed)).failures == ()
    elsewhere = recall(failed | {"data": "0" * 64})
    found = whole(before=elsewhere)
    assert found.failures == (Failure("2026-11-01", "0" * 64),)
    assert found.refuses
    assert whole(before=recall(json.loads(json.dumps(found.to_dict())))).failures == found.failures
    assert whole(before=recall(failed | {"data": "0" * 64, "revision": "another"})).failures == ()


@pytest.mark.parametrize("change", [{"harms": [{}]}, {"harms": 3}, {"schema": "audit/v9"}, {"registrations": [1]}])
def test_what_is_no_whole_audit_is_refused(change: dict[str, object]) -> None:
    plain = json.loads(json.dumps(usual().to_dict()))
    with pytest.raises(ValueError, match="audit/v1"):
        recall(plain | change)
    with pytest.raises(ValueError, match="audit/v1"):
        recall([plain])


def test_harms_that_were_changed_after_looking_are_told() -> None:
    first = usual()
    assert first.registrations == (Registration(first.registered, first.data, "2026-01-01"),)
    before = json.loads(json.dumps(first.to_dict()))
    again = whole(before=recall(before))
    assert again.registrations == first.registrations
    assert not any("audited before" in one for one in again.limits)
    before["registrations"][0]["registered"] = "f" * 64
    after = whole(before=recall(before))
    assert [one.registered for one in after.registrations] == ["f" * 64, first.registered]
    assert any(
        "audited before under 1 other set of harms and tolerances, first on 2026-01-01" in one for one in after.limits
    )


def test_other_items_start_anew() -> None:
    before = recall(json.loads(json.dumps(usual().to_dict())))
    assert len(registrations("a" * 64, "of other items", "2026-02-01", before)) == 1
    assert len(registrations("a" * 64, before.data, "2026-02-01", before)) == 2
