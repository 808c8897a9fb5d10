"""`moderation demo` as a newcomer runs it: the bundled encoder, the shipped pictures, nothing replaced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def came_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "moderation", "demo", "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def test_weapons_keep_their_promises_and_alcohol_says_how_many_targets_it_needs(
    came_out: tuple[dict[str, Any], Path],
) -> None:
    by_id = {policy["policy"]: policy for policy in came_out[0]["policies"]}
    assert [action["certified"] for action in by_id["weapons"]["actions"]] == [True]
    for action in by_id["weapons"]["actions"]:
        passed = action["certificate"]["precision_low" if action["metric"] == "precision" else "tpr_lower"]
        assert passed >= action["at_least"]  # the test that the threshold passed; what is promised is at_least itself
    assert [action["certified"] for action in by_id["alcohol"]["actions"]] == [False, False]
    lacking = [action["shortfall"] for action in by_id["alcohol"]["actions"]]
    assert any(one["more_violating"] for one in lacking)
    assert all(one["more_violating"] or "no number of targets will do" in one["reason"] for one in lacking)


def test_the_policys_own_tests_pass(came_out: tuple[dict[str, Any], Path]) -> None:
    counts = next(policy["tests"] for policy in came_out[0]["policies"] if policy["policy"] == "weapons")
    assert counts["failed"] == 0
    assert counts["passed"] >= 15


def test_the_page_and_the_decisions_are_there(came_out: tuple[dict[str, Any], Path]) -> None:
    summary, out = came_out
    decisions = (out / "decisions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(decisions) == summary["items"] == 500
    page = (out / "report.html").read_text(encoding="utf-8")
    for policy in summary["policies"]:
        assert policy["revision"] in page
        for action in policy["actions"]:
            assert not action["certified"] or f"certified at score {action['threshold']:.4f}" in page
