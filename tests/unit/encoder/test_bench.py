"""The stages of an encoder: which there are, that their work is counted rightly, and what cannot be measured is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from moderation.cli.main import app
from moderation.encoder import bench
from moderation.encoder.checkpoint import load
from moderation.errors import EncoderError
from tests.fakes import FakeEncoder
from tests.unit.encoder import checkpoints


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clip")
    checkpoints.clip(folder)
    return load(str(folder), device="cpu")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_SQUARES", {"cpu": (8, 64)})
    monkeypatch.setattr(bench, "_PHOTOS", 2)


def test_every_stage_of_both_modalities_is_there_once(encoder: Any) -> None:
    found = bench.measure(encoder, batches=(1, 4), rounds=1)
    assert [(one.modality, one.name, one.batch) for one in found.stages] == [
        ("image", "decode", 1),
        ("image", "resize", 1),
        ("image", "prepare", 2),
        *(("image", name, batch) for name in ("tower", "whole") for batch in (1, 4)),
        *(("text", name, batch) for name in ("tower", "whole") for batch in (1, 4)),
    ]
    assert all(one.rate > 0 for one in found.stages)
    assert all((one.share is not None) == (one.name == "tower") for one in found.stages)
    assert found.to_dict()["schema"] == "bench-encode/v1"


def test_rates_and_shares_are_those_of_the_clock() -> None:
    """A stage of one second for 3 items of 10 operations, beside products of 8 seconds: 2 * 4³ * REPEATS / 8 a second."""
    now = 0.0

    def takes(seconds: float) -> bench.Run:
        def run() -> None:
            nonlocal now
            now += seconds

        return run

    rows = bench.rounds_of({"product": takes(8.0), "stage": takes(1.0)}, 2, lambda: now)
    assert rows == [{"product": 8.0, "stage": 1.0}] * 2
    matrix = [bench.matrix_rate(row, {"product": (4, 4, 4)}) for row in rows]
    assert matrix == [2 * 4**3 * bench.REPEATS / 8] * 2
    stage = bench._stage(bench._Case("image", "tower", 3, takes(1), 3, 10.0), [row["stage"] for row in rows], matrix)
    assert (stage.rate, stage.share) == (3.0, round(30 / matrix[0], 3))


def test_the_work_of_the_lean_tower_is_that_of_its_products(encoder: Any) -> None:
    """Its residuals are added by `addmm_`, which torch's counter does not know by itself."""
    width, layers, tokens, patch = 64, 2, 10, 16
    per_layer = 2 * tokens * (4 * width * width + 2 * width * 128) + 4 * tokens * tokens * width
    expected = layers * per_layer + 2 * (tokens - 1) * 3 * patch * patch * width + 2 * width * 32
    assert bench._flops(lambda: encoder.image.tower(torch.zeros(1, 3, 48, 48))) == expected


def test_what_cannot_be_measured_is_refused(encoder: Any) -> None:
    with pytest.raises(EncoderError, match="a batch of 3; the towers run 1, 2, 4, 8, 16, 32"):
        bench.measure(encoder, batches=(3,), rounds=1)
    with pytest.raises(EncoderError, match="no stages to measure"):
        bench.measure(FakeEncoder(), rounds=1)


def test_the_command_tells_a_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MODERATION_ENCODERS__DEFAULT__CHECKPOINT", str(tmp_path))
    checkpoints.clip(tmp_path)
    told = CliRunner().invoke(app, ["bench", "encode", "--batch", "2", "--rounds", "1"])
    assert told.exit_code == 0, told.output
    assert "share of the matrix rate" in told.output
    assert "image tower" in told.output
