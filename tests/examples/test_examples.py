"""Every script in examples/ runs, on a small random encoder: what it prints is then no wisdom, but it must run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.encoder import checkpoints

ARGUMENTS = {
    "plan_promise.py": [str(ROOT / "policies" / "weapons.yaml"), "--violating", "67", "--benign", "2001"],
}
SCRIPTS = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    checkpoints.clip(folder)
    return folder


def test_there_is_one() -> None:
    assert "rank_pictures.py" in [path.name for path in SCRIPTS]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_example_runs(
    script: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODERATION_ENCODERS__DEFAULT__CHECKPOINT", str(tiny))
    monkeypatch.setattr("sys.argv", [str(script), *ARGUMENTS.get(script.name, [])])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert not list(tmp_path.iterdir())
