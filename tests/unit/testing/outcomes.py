"""What pytest says of tests that are meant to fail, run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict

from tests.conftest import ROOT

Outcomes = dict[str, dict[str, str]]


def outcomes_of(file: str) -> Outcomes:
    """By class and test, the outcome in one run over a file of this folder."""
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:xdist", f"tests/unit/testing/{file}"]
    env = {**os.environ, "COLUMNS": "400"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=env)
    found: Outcomes = defaultdict(dict)
    for line in done.stdout.splitlines():
        outcome, _, rest = line.partition(" ")
        if "::Test" in rest and outcome.isupper():
            _, name, test = rest.split(" ")[0].split("::")
            found[name][test.removeprefix("test_")] = outcome
    assert found, done.stdout + done.stderr
    return found


def failed(outcomes: dict[str, str]) -> set[str]:
    return {test for test, outcome in outcomes.items() if outcome not in {"PASSED", "XFAIL", "SKIPPED"}}
