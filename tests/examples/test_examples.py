"""Every script in examples/ runs, on a small random encoder: what it prints is then no wisdom, but it must run."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.unit.cli.words import WordEncoder, write_project, write_rows
from tests.unit.encoder import checkpoints

PLAN, GALLERY = (ROOT / "examples" / name for name in ("plan_promise.py", "gallery.py"))
SCRIPTS = sorted(set((ROOT / "examples").glob("*.py")) - {PLAN, GALLERY})  # these have tests of their own


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
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert not list(tmp_path.iterdir())


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[int, int], str]:
    """What the plan prints for a policy about texts with so many violating and benign fit objects."""
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())
    policy = write_project(tmp_path / "policies")
    monkeypatch.setattr("sys.argv", [str(PLAN), str(policy)])

    def printed(violating: int, benign: int) -> str:
        write_rows(policy.parent / "data" / "fit.jsonl", "fit", violating, benign)
        runpy.run_path(str(PLAN), run_name="__main__")
        return capsys.readouterr().out

    return printed


def test_a_promise_is_planned_at_the_rates_seen_and_at_worse_ones(plan: Callable[[int, int], str]) -> None:
    told = plan(12, 20)
    assert "fitted on 12 violating and 20 benign objects; 80 and 600 to certify on" in told
    seen, worse = re.split("with rates at the worse end.*", told)
    needed = [
        [int(one) for one in re.findall(r"takes (\d+) violating", part)] for part in (seen.split("seen:")[1], worse)
    ]
    assert all(counts == sorted(counts) for counts in needed)
    assert len(needed[1]) < len(needed[0])
    assert all(few <= many for few, many in zip(*needed, strict=False))
    assert "objects, at hand" in seen
    assert "out of reach" in worse


def test_nothing_is_planned_on_too_few_targets(plan: Callable[[int, int], str]) -> None:
    with pytest.raises(SystemExit, match="too few to fit on"):
        plan(4, 6)
