"""The loop on a tiny tower: it learns, it saves, and a resumed run goes on with the very same losses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from moderation.errors import TrainingError
from moderation.training import checkpoint
from moderation.training.loop import Progress, train
from tests.unit.training.test_data import prepare

RUN = """
task = "drawings"
out = "{out}"
steps = {steps}
batch = 6
save_every = 3
threads = 1
[data]
folder = "prepared"
[model]
tower = "tower"
frozen = ["embeddings"]
[optimiser]
warm_up = 2
cool_down = 2
[[stages]]
step = 0
size = 32
strength = 1.0
ramp = 4
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ConvNextConfig, ConvNextModel

    root = tmp_path_factory.mktemp("training")
    (root / "prepared").mkdir()
    prepare(root / "prepared")
    torch.manual_seed(0)
    config = ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], patch_size=4, hidden_size=16, image_size=32
    )
    ConvNextModel(config).save_pretrained(root / "tower")
    return root


def run(folder: Path, name: str, *, steps: int, resume: bool = False) -> list[Progress]:
    seen: list[Progress] = []
    path = folder / f"{name}.toml"
    path.write_text(RUN.format(out=name, steps=steps), encoding="utf-8")
    train(path, resume=resume, progress=seen.append)
    return seen


def test_a_resumed_run_has_the_same_next_losses_to_the_last_bit(folder: Path) -> None:
    whole = run(folder, "whole", steps=8)
    (folder / "cut").mkdir()
    # the same schedule, cut after the save of step 6 as a crash would
    path = folder / "cut.toml"
    path.write_text(RUN.format(out="cut", steps=8), encoding="utf-8")

    class Crash(Exception):  # noqa: N818
        pass

    def crash(at: Progress) -> None:
        if at.step == 7:
            raise Crash

    with pytest.raises(Crash):
        train(path, progress=crash)
    resumed = run(folder, "cut", steps=8, resume=True)
    assert [p.step for p in resumed] == [7, 8]
    assert [p.loss for p in resumed] == [p.loss for p in whole[6:]]


def test_the_loss_falls_and_frozen_parts_stay(folder: Path) -> None:
    seen = run(folder, "falls", steps=30)
    assert seen[-1].loss < seen[0].loss
    tensors, facts = checkpoint.load(folder / "falls" / "checkpoint.safetensors")
    first = run(folder, "one", steps=1)
    start, _ = checkpoint.load(folder / "one" / "checkpoint.safetensors")
    assert facts["step"] == 30
    assert first[0].step == 1
    frozen = [name for name in tensors if name.startswith("model.tower.embeddings.")]
    assert frozen
    assert all(torch.equal(tensors[name], start[name]) for name in frozen)
    assert not torch.equal(tensors["model.projection.weight"], start["model.projection.weight"])


def test_a_run_is_not_overwritten(folder: Path) -> None:
    run(folder, "twice", steps=1)
    with pytest.raises(TrainingError, match="a run is here already"):
        run(folder, "twice", steps=1)


def test_a_file_that_is_no_checkpoint_is_refused(folder: Path) -> None:
    (folder / "bad").mkdir()
    (folder / "bad" / "checkpoint.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        run(folder, "bad", steps=2, resume=True)
    with pytest.raises(TrainingError, match="no checkpoint to resume"):
        run(folder, "nowhere", steps=2, resume=True)
