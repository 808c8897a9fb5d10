"""Train on the command line: the loop is given what was asked, and what it tells reaches people."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from moderation.cli import train
from moderation.errors import ExitCode, TrainingError
from tests.unit.cli.conftest import Run


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Stands in for the loop: three steps; the calls it got."""
    calls: list[Any] = []

    def run(config: Path, *, resume: bool, progress: Any, note: Any) -> Path:
        calls.append((config, resume))
        if config.read_text() == "bad":
            raise TrainingError("run.toml: steps is 0; expected at least 1")
        for step in (1, 2, 3):
            progress(
                SimpleNamespace(
                    step=step, steps=3, loss=1.5, rate=0.1, told={"scale": 2.0, "size": 64}, pictures_per_second=9.6
                )
            )
        return tmp_path / "checkpoint.safetensors"

    module = ModuleType("moderation.training.loop")
    module.train = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moderation.training.loop", module)
    return calls


def test_a_run_is_told_and_ends_with_its_checkpoint(loop: list[Any], tmp_path: Path, run: Run) -> None:
    config = tmp_path / "run.toml"
    config.write_text("")
    code, out, err = run("train", config)
    assert (code, out) == (ExitCode.OK, f"checkpoint: {tmp_path / 'checkpoint.safetensors'}\n")
    assert err == "step 3/3, loss 1.5000, scale 2.0, 10 pictures/s at 64 px\n"
    run("train", config, "--resume")
    assert loop == [(config, False), (config, True)]


@pytest.mark.parametrize("package", ["peft", "tensorboard"])
def test_without_the_extra_it_says_what_to_install_before_anything_is_loaded(
    loop: list[Any], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name, *more)
    )
    (tmp_path / "run.toml").touch()
    code, _, err = run("train", tmp_path / "run.toml")
    assert (code, loop) == (ExitCode.USAGE, [])
    assert f'this needs {package}, which is not installed; try: pip install "moderation[train]"' in err


def test_a_log_gets_a_line_now_and_then(
    loop: list[Any], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "NOTE_EVERY_SECONDS", 0.0)
    (tmp_path / "run.toml").write_text("")
    assert run("train", tmp_path / "run.toml")[2].count("\n") == 3


def test_a_run_that_cannot_start_says_why(loop: list[Any], tmp_path: Path, run: Run) -> None:
    (tmp_path / "run.toml").write_text("bad")
    code, _, err = run("train", tmp_path / "run.toml")
    assert (code, err) == (ExitCode.TRAINING, "error: run.toml: steps is 0; expected at least 1\n")


def test_a_configuration_that_is_not_there_is_a_usage_error(tmp_path: Path, run: Run) -> None:
    assert run("train", tmp_path / "gone.toml")[0] == ExitCode.USAGE


def test_retrieval_while_training_reaches_people() -> None:
    told = {"scale": 2.0, "size": 64, "valid/captions_r1": 0.25, "valid/pictures_r5": 0.5}
    progress: Any = SimpleNamespace(step=1, steps=3, loss=1.5, rate=0.1, told=told, pictures_per_second=9.6)
    assert train.in_words(progress).endswith("10 pictures/s at 64 px, captions R@1 0.250, pictures R@5 0.500")
