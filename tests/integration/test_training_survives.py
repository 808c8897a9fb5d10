"""Runs that are killed, starved of disk, poisoned or shared by processes: what is there afterwards is exact, or said to be wrong."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from moderation.errors import ExitCode, TrainingError
from moderation.training import checkpoint
from moderation.training.loop import train
from tests.unit.training import forked
from tests.unit.training.runs import prepare, run, write

# Dropout in the text tower, left-out patches and random crops: everything that draws random numbers.
DICE = '[model]\nstart = "vit"\npatch_dropout = 0.25\n[loss]\nsub_batch = 5'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("survives")
    prepare(root)
    return root


def log(folder: Path, name: str) -> list[dict[str, Any]]:
    path = folder / name / "log.jsonl"
    lines = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in lines[: lines.rfind("\n") + 1].splitlines()]


def losses(folder: Path, name: str) -> list[tuple[int, float, float]]:
    return [(row["step"], row["loss"], row["scale"]) for row in log(folder, name)]


def test_a_run_killed_at_a_random_step_goes_on_with_the_same_bits(folder: Path) -> None:
    steps, kills = 24, 3
    numbers = {"steps": steps, "batch": 10, "save_every": 4}  # 48 pictures: an epoch ends within every five steps
    run(folder, "whole", DICE, **numbers)
    # Measured while it learns, as the whole one is not: no step may depend on that.
    path = write(folder, "killed", DICE + '\n[valid]\npairs = ["captions.jsonl"]\nevery = 3\nmost = 12', **numbers)
    dice = random.Random(os.getpid())
    tries = 0
    while tries == 0 or len(log(folder, "killed")) < steps:
        resume = ["--resume"] if (folder / "killed" / "checkpoint.safetensors").exists() else []
        (process,) = forked.started(path, *resume)
        if tries < kills:
            done = len(log(folder, "killed"))
            wanted = done + dice.randint(1, 6)
            while len(log(folder, "killed")) < min(wanted, steps) and process.is_alive():
                time.sleep(0.005)
            process.kill()
        (code,), said = forked.ended(path, [process], seconds=120)
        tries += 1
        assert code in (0, -signal.SIGKILL), said
    assert tries > kills
    assert losses(folder, "killed") == losses(folder, "whole")
    ends = [checkpoint.load(folder / name / "checkpoint.safetensors")[0] for name in ("whole", "killed")]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_run_goes_on_as_it_began_or_not_at_all(folder: Path) -> None:
    run(folder, "began", '[model]\nstart = "clip"')
    with pytest.raises(TrainingError, match=r"of another run: batch was 8 and is 6; loss.chunk was 256 and is 7"):
        run(folder, "began", '[model]\nstart = "clip"\n[loss]\nchunk = 7', batch=6, resume=True)
    with pytest.raises(TrainingError, match="a run is here already"):
        run(folder, "began", '[model]\nstart = "clip"')


def starve(most: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then writing fails as on a full disk, and nobody is killed
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def test_a_full_disk_leaves_the_checkpoint_before(folder: Path) -> None:
    numbers = {"steps": 6, "save_every": 2}
    run(folder, "disk", '[model]\nstart = "clip"', steps=6, save_every=6)
    size = (folder / "disk" / "checkpoint.safetensors").stat().st_size
    path = write(folder, "full", '[model]\nstart = "clip"', **numbers)
    (code,), said = forked.ended(path, forked.started(path), seconds=120)
    assert code == 0, said
    path.write_text(path.read_text().replace("save_every = 2", "save_every = 1"))
    cut = path.read_text().replace("steps = 6", "steps = 8")
    longer = folder / "longer.toml"
    longer.write_text(cut)

    tensors, facts = checkpoint.load(folder / "full" / "checkpoint.safetensors")
    facts["step"], facts["run"]["steps"] = 6, 8
    checkpoint.save(folder / "full" / "checkpoint.safetensors", tensors, facts)
    whole = (folder / "full" / "checkpoint.safetensors").read_bytes()
    (code,), said = forked.ended(
        longer, forked.started(longer, "--resume", before=partial(starve, size // 2)), seconds=120
    )
    assert code == ExitCode.TRAINING, said
    assert "the checkpoint cannot be written" in said
    assert "the one before it is whole" in said
    assert "Traceback" not in said
    assert (folder / "full" / "checkpoint.safetensors").read_bytes() == whole
    assert not list((folder / "full").glob("*.writing"))


def test_a_loss_that_is_no_number_stops_the_run_with_its_batch_saved(folder: Path) -> None:
    text = (
        write(folder, "poisoned", '[model]\nstart = "clip"')
        .read_text()
        .replace("tower_rate = 3e-3", "tower_rate = 1e38")
    )
    (folder / "poisoned.toml").write_text(text.replace("warm_up = 2", "warm_up = 0"))
    with pytest.raises(
        TrainingError, match=r"the loss is (nan|inf|\S+) and its gradient's norm \S+; the batch is in"
    ) as stopped:
        train(folder / "poisoned.toml")
    (saved,) = (folder / "poisoned").glob("bad-step-*.safetensors")
    assert str(saved) in str(stopped.value)
    batch, facts = checkpoint.load(saved)
    assert len(facts["records"]) == 8
    assert all("pictures/" in record for record in facts["records"])
    assert batch["pixels"].shape == (8, 3, 48, 48)
    assert batch["ids"].shape == batch["mask"].shape


def test_two_processes_learn_what_one_learns(folder: Path) -> None:
    sections = '[model]\nstart = "clip"'  # no dropout: each process throws its own dice
    run(folder, "alone", sections, steps=5)
    for name, more in (("together", ""), ("together-cached", "\n[loss]\nsub_batch = 2")):
        path = write(folder, name, sections + more, steps=5)
        codes, said = forked.ended(path, forked.started(path, ranks=2))
        assert codes == [0, 0], said
        assert [row[1] for row in losses(folder, name)] == pytest.approx(
            [row[1] for row in losses(folder, "alone")], abs=1e-4
        )
        ends = [checkpoint.load(folder / one / "checkpoint.safetensors")[0] for one in ("alone", name)]
        for key, tensor in ends[0].items():
            if key.startswith("model."):
                torch.testing.assert_close(ends[1][key], tensor, atol=2e-3, rtol=1e-2)
