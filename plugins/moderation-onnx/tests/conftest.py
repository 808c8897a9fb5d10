"""A small checkpoint and its export, made once. Hypothesis as the house has it: the same examples on every run, no deadline; HYPOTHESIS_PROFILE=soak for others, and more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from moderation_onnx.command import app
from typer.testing import CliRunner

from tests.unit.encoder import checkpoints

settings.register_profile("house", derandomize=True, deadline=None)
settings.register_profile("soak", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small CLIP, `clip`, and what the command exports of it, `export`."""
    folder = tmp_path_factory.mktemp("made")
    checkpoints.clip(folder / "clip")
    run = CliRunner().invoke(app, ["export", str(folder / "clip"), "--out", str(folder / "export")])
    assert run.exit_code == 0, run.output
    return folder
