"""torch.compile changes how fast towers run, not what they learn nor what is saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moderation.training import checkpoint
from tests.unit.encoder import checkpoints
from tests.unit.training.runs import prepare, run

# A CLIP, because it has no dropout: compiled code throws its own dice.
TOWERS = '[model]\nstart = "short"\n'


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler")
def test_compiled_towers_learn_the_same(tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "short").mkdir()
    checkpoints.clip(tmp_path / "short", num_hidden_layers=1)
    eager = run(tmp_path, "eager", TOWERS, steps=4)
    compiled = run(tmp_path, "compiled", f"{TOWERS}compile = true", steps=4)
    assert [one.loss for one in compiled] == pytest.approx([one.loss for one in eager], abs=1e-4)
    names = [checkpoint.load(tmp_path / name / "checkpoint.safetensors")[0].keys() for name in ("eager", "compiled")]
    assert names[0] == names[1]
    on = run(tmp_path, "compiled", f"{TOWERS}compile = true", steps=4, resume=True)
    assert on == []  # it was whole, and its checkpoint loads
