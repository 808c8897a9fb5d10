"""Prepared folders and the order they are trained in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from moderation.errors import TrainingError
from moderation.training.data import Order, choose_captions, epoch_order, open_pictures


def prepare(folder: Path, rows: int = 12, captions: int = 3) -> Path:
    rng = np.random.default_rng(0)
    np.save(folder / "pictures.npy", rng.integers(0, 256, (rows, 40, 40, 4), dtype=np.uint8))
    texts = rng.normal(size=(rows * captions, 16))
    np.save(folder / "texts.npy", (texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float16))
    lines = [
        {
            "picture": i,
            "object": f"thing {i // 2}",
            "weight": 1.0,
            "captions": list(range(i * captions, (i + 1) * captions)),
        }
        for i in range(rows)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def test_the_order_is_a_pure_function_of_seed_epoch_and_step() -> None:
    weights = np.array([1.0, 0.5, 2.0, 1.5, 1.0, 1.0] * 10)
    straight, jumping = Order(weights, batch=8, seed=3), Order(weights, batch=8, seed=3)
    steps = [straight.rows(step).tolist() for step in range(30)]
    assert [jumping.rows(step).tolist() for step in (29, 3, 17)] == [steps[29], steps[3], steps[17]]
    assert steps[0] != Order(weights, batch=8, seed=4).rows(0).tolist()
    assert steps[0] != steps[straight.steps_per_epoch]


def test_an_epoch_draws_each_row_as_often_as_its_weight_says() -> None:
    weights = np.array([1.0, 0.5, 2.0, 1.5] * 25)
    counts = sum(np.bincount(epoch_order(weights, seed=1, epoch=e), minlength=100) for e in range(40)) / 40
    assert {len(epoch_order(weights, seed=1, epoch=e)) for e in range(40)} == {math.floor(math.fsum(weights))}
    assert np.abs(counts - weights).max() < 0.35
    once = np.bincount(epoch_order(weights, seed=1, epoch=0), minlength=100)
    assert (once >= np.floor(weights)).all()
    assert (once <= np.ceil(weights)).all()


def test_the_first_caption_comes_as_often_as_asked(tmp_path: Path) -> None:
    pictures = open_pictures(prepare(tmp_path))
    rows = np.zeros(4000, dtype=np.int64)
    chosen = choose_captions(pictures, rows, np.random.default_rng(1), first=0.5)
    assert set(chosen.tolist()) == {0, 1, 2}
    assert abs((chosen == 0).mean() - 0.5) < 0.05


@pytest.mark.parametrize("missing", ["pictures.npy", "rows.jsonl", "texts.npy"])
def test_a_folder_that_lacks_a_part_is_named(tmp_path: Path, missing: str) -> None:
    (prepare(tmp_path) / missing).unlink()
    with pytest.raises(TrainingError, match=missing):
        open_pictures(tmp_path)


def test_a_caption_that_is_not_there_is_refused(tmp_path: Path) -> None:
    row = {"picture": 0, "object": "a", "weight": 1.0, "captions": [999]}
    (prepare(tmp_path) / "rows.jsonl").write_text(json.dumps(row), encoding="utf-8")
    with pytest.raises(TrainingError, match="999"):
        open_pictures(tmp_path)


def test_a_batch_larger_than_an_epoch_is_refused() -> None:
    with pytest.raises(TrainingError, match="more than one epoch"):
        Order(np.ones(5), batch=6, seed=1)
