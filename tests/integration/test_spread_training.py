"""Two real processes that hold a half of every weight each (FSDP2) learn what one process learns, and go on after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from moderation.encoder.checkpoint import load
from moderation.errors import TrainingError
from moderation.training import checkpoint
from tests.conftest import ROOT
from tests.unit.encoder import checkpoints
from tests.unit.training import forked
from tests.unit.training.runs import picture, prepare, run, write

SECTIONS = '[model]\nstart = "clip"'
NUMBERS: dict[str, Any] = {"steps": 10, "save_every": 2}
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "moderation"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spread")
    prepare(root)
    return root


def launched(path: Path) -> subprocess.Popen[str]:
    """As users start it."""
    return subprocess.Popen(
        [*LAUNCH, "train", str(path)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


def spread_over_two(path: Path, *more: str) -> None:
    codes, said = forked.ended(path, forked.started(path, *more, ranks=2))
    assert codes == [0, 0], said


def losses(folder: Path, name: str) -> list[float]:
    path = folder / name / "log.jsonl"
    lines = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line)["loss"] for line in lines[: lines.rfind("\n") + 1].splitlines()]


def state(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / name / "checkpoint.safetensors")[0]


def test_two_processes_with_half_the_weights_each_learn_what_one_learns(folder: Path) -> None:
    run(folder, "alone", SECTIONS, **NUMBERS)
    ended(launched(write(folder, "spread", SECTIONS, top="shard = true", **NUMBERS)))
    cached = f"{SECTIONS}\n[loss]\nsub_batch = 2"
    spread_over_two(write(folder, "spread-cached", cached, top="shard = true", **NUMBERS))
    for name in ("spread", "spread-cached"):
        assert losses(folder, name) == pytest.approx(losses(folder, "alone"), abs=1e-4)
        one, two = state(folder, "alone"), state(folder, name)
        assert one.keys() == two.keys()
        for key, tensor in one.items():
            if key.startswith(("model.", "average.")):
                torch.testing.assert_close(two[key], tensor, atol=2e-3, rtol=1e-2)
        shown = [picture("red", "gun", 1), picture("green", "bottle", 2)]
        vectors = [load(str(folder / at / "encoder")).encode_images(shown).vectors for at in ("alone", name)]
        np.testing.assert_allclose(vectors[1].astype(float), vectors[0].astype(float), atol=2e-3)

    # Killed at some step, they go on with the same bits.
    path = write(folder, "killed", SECTIONS, top="shard = true", **NUMBERS)
    process = launched(path)
    while len(losses(folder, "killed")) < 3 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)  # torchrun ends its ranks, which do not notice
    process.communicate(timeout=60)
    assert 3 <= len(losses(folder, "killed")) < NUMBERS["steps"]
    spread_over_two(path, "--resume")
    assert losses(folder, "killed") == losses(folder, "spread")
    kept, whole = state(folder, "killed"), state(folder, "spread")
    assert all(torch.equal(kept[key], tensor) for key, tensor in whole.items())


KINDS = {
    "lora": ('[model]\nstart = "clip"\nlora = {rank = 4}', ""),
    "locked": ('[model]\nstart = "clip"\nlock = ["image"]', ""),
    "half": (SECTIONS, 'precision = "bf16"'),
    "sigmoid": ('[model]\nstart = "siglip"\n[loss]\nkind = "sigmoid"', ""),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_run_learns_spread_what_one_process_learns(name: str, folder: Path) -> None:
    sections, top = KINDS[name]
    near = 5e-2 if name == "half" else 1e-4
    run(folder, f"{name}-alone", sections, top=top, steps=4)
    spread_over_two(write(folder, f"{name}-spread", sections, top=f"shard = true\n{top}", steps=4))
    assert losses(folder, f"{name}-spread") == pytest.approx(losses(folder, f"{name}-alone"), abs=near)
    shown = [picture("red", "gun", 1), picture("green", "bottle", 2)]
    alone, spread = (
        load(str(folder / f"{name}-{way}" / "encoder")).encode_images(shown) for way in ("alone", "spread")
    )
    np.testing.assert_allclose(spread.vectors.astype(float), alone.vectors.astype(float), atol=2 * near + 2e-3)


STARTS = {
    "bias": ('[model]\nstart = "siglip"\n[loss]\nkind = "sigmoid"', ""),
    "pooled": ('[model]\nwidth = 16\nimage = "vit"\ntext = "sentence"', "vit-tower"),
    "pooled-lora": ('[model]\nwidth = 16\nimage = "vit"\ntext = "sentence"\nlora = {rank = 2}', "vit-tower"),
    "lit": ('[model]\nstart = "clip"\nlock = ["image"]', ""),
}


@pytest.mark.parametrize("name", STARTS)
def test_two_processes_wait_for_no_weight_that_nothing_depends_on(name: str, folder: Path) -> None:
    sections, tower = STARTS[name]
    if tower and not (folder / tower).exists():
        transformers.VisionTextDualEncoderModel.from_pretrained(folder / "vit").vision_model.save_pretrained(
            folder / tower
        )
        checkpoints.write_clip_processor(folder / tower, 48)
    sections = sections.replace('image = "vit"', 'image = "vit-tower"')
    run(folder, f"{name}-one", sections, steps=3)
    spread_over_two(write(folder, f"{name}-two", sections, steps=3))
    one, two = losses(folder, f"{name}-one"), losses(folder, f"{name}-two")
    assert len(two) == 3
    if not tower:  # ViT and BERT of transformers have dropout, which falls otherwise on two halves
        assert two == pytest.approx(one, abs=1e-4)


def test_one_of_two_processes_measures_and_chooses(folder: Path) -> None:
    sections = f'{SECTIONS}\n[valid]\npairs = ["captions.jsonl"]\nevery = 2\nmost = 20'
    run(folder, "valid-alone", sections, top='keep_start = "best"', steps=4)
    spread_over_two(write(folder, "valid-two", sections, top='keep_start = "best"', steps=4))
    one, two = (
        [json.loads(line) for line in (folder / name / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("valid-alone", "valid-two")
    )
    for left, right in zip(one, two, strict=True):
        assert right["loss"] == pytest.approx(left["loss"], abs=1e-4)
        measured = {key: value for key, value in left.items() if key.startswith("valid/")}
        assert {key: value for key, value in right.items() if key.startswith("valid/")} == pytest.approx(
            measured, abs=0.11
        )
    assert [row["step"] for row in two if "valid/captions_r1" in row] == [2, 4]
    card = json.loads((folder / "valid-two" / "encoder" / "card.json").read_text(encoding="utf-8"))
    assert len(card["metrics"]["valid_recall_by_keep_start"]) == 5


def test_one_process_has_nothing_to_spread(folder: Path) -> None:
    plain = run(folder, "plain", SECTIONS, steps=2)
    spread = run(folder, "one", SECTIONS, steps=2, top="shard = true")
    assert [one.loss for one in spread] == [one.loss for one in plain]


def test_what_is_spread_cannot_be_compiled_too(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"expected either shard or model\.compile"):
        run(folder, "both", f"{SECTIONS}\ncompile = true", top="shard = true")
