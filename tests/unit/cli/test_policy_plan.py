"""`moderation policy plan`: numbers before any target, and how far those at hand go. No encoder is asked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moderation.errors import ExitCode
from tests.unit.cli.conftest import Run
from tests.unit.cli.words import write_project


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_project(tmp_path / "policies")


def told(run: Run, policy: Path) -> str:
    code, out, err = run("policy", "plan", policy)
    assert code == ExitCode.OK, err
    return out


def test_each_guarantee_has_its_limit_and_a_table_beside_what_is_at_hand(policy: Path, run: Run) -> None:
    out = told(run, policy)
    plain = json.loads(run("policy", "plan", policy, "--json")[1])
    assert f"{plain['at_hand']['violating']} violating and {plain['at_hand']['benign']} benign objects" in out
    for action in plain["actions"]:
        assert f"  {action['action']}: {action['metric']} at least {action['at_least']:g}" in out
        for case in action["cases"]:
            numbers = re.compile(rf" {case['violating']:,} +{case['benign']:,}  ")
            row = next(line for line in out.splitlines() if numbers.search(line))
            lacking = [side for side in ("violating", "benign") if case[side] > plain["at_hand"][side]]
            assert row.endswith(f"more {lacking[-1]}" if lacking else "enough")


def test_a_policy_without_targets_is_planned_too(policy: Path, run: Run) -> None:
    text = policy.read_text(encoding="utf-8")
    bare = "\n".join(line for line in text.splitlines() if "certify:" not in line)
    policy.write_text(bare, encoding="utf-8")
    out = told(run, policy)
    assert "at hand: nothing, the policy names no certify manifest" in out
    assert "takes violating" in out
    assert json.loads(run("policy", "plan", policy, "--json")[1])["at_hand"] is None


def test_what_no_number_of_targets_mends_is_said(policy: Path, run: Run) -> None:
    text = policy.read_text(encoding="utf-8")
    low = text[text.index("prevalence:") :].split("low:")[1].split(",")[0]
    policy.write_text(text.replace(f"low:{low},", "low: 0.0,", 1), encoding="utf-8")
    assert "no number of targets will do: the prevalence alone breaks it" in told(run, policy)


def test_a_manifest_that_is_not_sound_is_an_error_of_the_data(policy: Path, run: Run) -> None:
    manifest = next(policy.parent.rglob("*certify*.jsonl"))
    manifest.write_text("{broken", encoding="utf-8")
    code, _, err = run("policy", "plan", policy)
    assert code == ExitCode.DATA
    assert str(manifest) in err
