"""Two locks side by side: which items change band, in which slices, and which part of the version must rise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.errors import DataError, LockError
from moderation.item import ContentItem, content_digest
from moderation.policy.calibration import Calibration
from moderation.policy.lock import Lock, LockedReader
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.release.diff import compare_locks, propose_bump
from tests.fakes import ACTIONS, action, lock

BEFORE, AFTER = lock(actions=(action("review", 0.5),)), lock(actions=(action("review", 0.6),))


class Cut:
    """Reviews what scores at least so much; a text is its own score, and `out` is out of scope."""

    def __init__(self, at: float) -> None:
        self.at = at

    def decide(self, items: Sequence[ContentItem]) -> list[Decision]:
        return [self.one(item, item.parts[0].content.decode().split()[0]) for item in items]

    def one(self, item: ContentItem, text: str) -> Decision:
        if text == "out":
            return Decision(item.id, "d", "allow", Severity.INFO, "allow", (), {})
        outcome, action = (Outcome.REVIEW, "review") if float(text) >= self.at else (Outcome.NO_MATCH, None)
        verdict = Verdict(
            "weapons", "1.0.0", "r", "draft", outcome, Severity.LOW, action, score=float(text), concept="a gun"
        )
        return Decision(item.id, "d", "allow", Severity.LOW, "allow", (verdict,), {})


def rows(*texts: str, **attributes: str) -> list[TargetRow]:
    return [
        TargetRow(None, f"{text} {n}", f"{n:064d}", n % 2 == 0, f"c{n}", attributes) for n, text in enumerate(texts)
    ]


def difference(found: Sequence[TargetRow], *, before: Lock = BEFORE, after: Lock = AFTER):
    return compare_locks(before, after, found, (Cut(0.5), Cut(0.6)), order=ACTIONS)


def test_who_changes_band_is_counted_both_ways_and_named() -> None:
    found = difference([*rows("0.1", "0.55", "0.9", "out"), *rows("0.59", region="north")])
    seen = found.compared
    assert seen.items == 5
    assert found.changed == 2
    assert {band: count for band, count in seen.matrix["review"].items() if count} == {"review": 1, "nothing": 2}
    assert seen.matrix["out of scope"]["out of scope"] == 1
    assert {one.score_after for one in seen.examples} == {0.55, 0.59}
    assert [(one.name, one.changed.hits, one.items) for one in seen.by_group] == [("region north", 1, 1)]
    assert ("a gun", 2, 4) in [(one.name, one.changed.hits, one.items) for one in seen.by_concept]
    assert (seen.overall.milder.hits, seen.overall.stricter.hits) == (2, 0)
    assert json.loads(json.dumps(found.to_dict()))["changed"] == 2


def test_examples_are_named_as_a_scan_of_the_manifest_names_them(tmp_path: Path) -> None:
    manifest = tmp_path / "items.jsonl"
    (tmp_path / "a.txt").write_text("0.55", encoding="utf-8")
    digest = content_digest(b"0.55")
    known = {"target": True, "sha256": digest, "path": "./a.txt", "cluster": "a"}
    lines = [known, {"text": "0.57", "target": False, "cluster": "b"}]
    manifest.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    found = difference(load_manifest(manifest)).compared.examples
    assert [one.item for one in found] == [f"{manifest}:2", "a.txt"]
    assert {one.item for one in difference(rows("0.55")).compared.examples} == {f"{0:064d}"}


def test_the_same_lock_changes_nothing() -> None:
    found = compare_locks(BEFORE, BEFORE, rows("0.1", "0.9"), (Cut(0.5), Cut(0.5)), order=ACTIONS)
    assert (found.changed, found.bump, found.why, found.compared.examples) == (0, "none", (), ())


def test_locks_of_two_policies_are_refused() -> None:
    with pytest.raises(LockError, match="'weapons' and 'fire'"):
        difference([], after=lock("fire"))


def test_a_row_that_cannot_be_read_is_located(tmp_path: Path) -> None:
    gone = TargetRow(tmp_path / "gone.webp", None, "0" * 64, True, "c", manifest=tmp_path / "m.jsonl", line=3)
    with pytest.raises(DataError, match=r"m.jsonl:3"):
        difference([*rows("0.1"), gone])


def head(**changes: object) -> Lock:
    arrays = {"violating": np.eye(2, dtype=np.float32), "golden": np.zeros(2, np.float16)}
    return replace(BEFORE, arrays={**arrays, **changes})


CERTIFIED = replace(BEFORE, evidence={"certify": {"prevalence": {"low": 0.1, "high": 0.3}}})


def budgeted(made: Lock, budget: float) -> Lock:
    return replace(made, actions=tuple(replace(one, certificate={"budget": budget}) for one in made.actions))


@pytest.mark.parametrize(
    ("after", "bump", "says"),
    [
        (replace(BEFORE, severity=Severity.INFO), "major", "severity"),
        (replace(BEFORE, surfaces=("listing",)), "major", "surfaces"),
        (replace(BEFORE, actions=(action("remove", 0.5),)), "major", "promises"),
        (budgeted(BEFORE, 0.02), "major", "promises"),
        (replace(CERTIFIED, evidence={"certify": {"prevalence": {"low": 0.1, "high": 0.2}}}), "major", "prevalence"),
        (AFTER, "minor", "thresholds"),
        (replace(BEFORE, max_parts=7), "minor", "max_parts"),
        (replace(BEFORE, readers=(LockedReader("tiles", "1", 9),)), "minor", "readers"),
        (replace(BEFORE, encoder_numeric="another"), "minor", "encoder_numeric"),
        (replace(BEFORE, calibration=Calibration("sigmoid", (1.0, 1.0, 0.0), ())), "minor", "calibration"),
        (replace(BEFORE, phrases=("another",)), "minor", "phrases"),
        (replace(BEFORE, policy_hash="f" * 64), "patch", "text"),
        (replace(BEFORE, evidence={**CERTIFIED.evidence, "notes": ["another"]}), "patch", "evidence"),
        (CERTIFIED, "none", ""),
    ],
)
def test_what_changed_says_which_part_of_the_version_rises(after: Lock, bump: str, says: str) -> None:
    found, why = propose_bump(CERTIFIED, after)
    assert found == bump
    assert says in " ".join(why)


def test_the_classifiers_numbers_count_and_what_lies_beside_them_does_not() -> None:
    assert propose_bump(head(), head(violating=np.ones((2, 2), np.float32)))[0] == "minor"
    assert propose_bump(head(), head(golden=np.ones(2, np.float16)))[0] == "patch"
