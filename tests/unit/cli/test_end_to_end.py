"""The command line with nothing stood in for: a scaffolded policy on a small random checkpoint, from new to scan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moderation.cli.lock_words import UNCERTIFIED
from moderation.errors import ExitCode
from tests.conftest import ROOT
from tests.unit.cli.conftest import Run
from tests.unit.encoder.checkpoints import dual


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    dual(folder, "vit")
    return folder


def test_from_a_new_policy_to_decisions(
    checkpoint: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_ENCODERS", f'{{default = {{checkpoint = "{checkpoint}"}}}}')
    policy = tmp_path / "circles.yaml"
    assert run("policy", "new", "circles", "--folder", tmp_path)[0] == ExitCode.OK
    assert run("policy", "lint", tmp_path)[:2] == (ExitCode.OK, "1 file, 0 errors, 0 warnings\n")
    code, out, err = run("policy", "compile", policy)
    assert code == ExitCode.OK, out + err
    # Two targets prove nothing, and the random weights know nothing: both are said, neither is hidden.
    code, out, _ = run("policy", "certify", policy)
    assert (code, "more violating targets" in out) == (ExitCode.NOT_CERTIFIED, True)
    assert UNCERTIFIED in out
    code, out, _ = run("policy", "test", policy)
    assert (code, UNCERTIFIED in out) == (ExitCode.TESTS_FAILED, True)
    assert UNCERTIFIED in run("policy", "show", policy)[1]
    code, out, err = run("scan", tmp_path / "data", "--policy", policy, "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, UNCERTIFIED in err) == (ExitCode.OK, True), err
    assert len(found) == 8
    assert {one["proposed"] for one in found} == {"review"}
    assert all(one["verdicts"][0]["error"] == "uncertified" and one["verdicts"][0]["score"] for one in found)


def test_a_real_process_leaves_with_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("schema: policy/v1\nid: Bad Id\n")
    command = [sys.executable, "-m", "moderation", "policy", "lint", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (ExitCode.POLICY, "")
    assert f"{tmp_path / 'bad.yaml'}:2:5: P103 error: id:" in done.stdout
