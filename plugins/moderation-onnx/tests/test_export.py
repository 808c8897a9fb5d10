"""What an export is refused for, on the way out and on the way in; and that it says nothing of the machine that made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from moderation_onnx import export as exporter
from moderation_onnx.command import app
from moderation_onnx.encoder import NUMERIC, load
from moderation_onnx.manifest import MANIFEST_FILE
from typer.testing import CliRunner

from moderation.assemble import encoder as assembled
from moderation.encoder import checkpoint
from moderation.errors import CheckpointError, EncoderError
from moderation.settings import EncoderSettings, Settings
from tests.unit.encoder import checkpoints
from tests.unit.encoder.pictures import jpeg

# The spread that the towers' float32 rounding leaves after float16's: one step of it for numbers below 1.
STEP = 5e-4


@pytest.fixture
def changed(made: Path, tmp_path: Path) -> Path:
    """A copy of the export, to be damaged."""
    return Path(shutil.copytree(made / "export", tmp_path / "export"))


def rewrite(export: Path, **said: str) -> None:
    """Changes what the manifest says."""
    known = json.loads((export / MANIFEST_FILE).read_text())
    (export / MANIFEST_FILE).write_text(json.dumps({**known, **said}))


def test_the_settings_find_it_with_the_same_identity_in_another_numeric_class(made: Path) -> None:
    settings = Settings(encoders={"default": EncoderSettings(loader="onnx", checkpoint=str(made / "export"))})
    there, here = checkpoint.load(str(made / "clip"), device="cpu"), assembled(settings)
    assert here.fingerprint.identity == there.fingerprint.identity
    assert (here.fingerprint.numeric, there.fingerprint.numeric) == (NUMERIC, "torch-cpu-float32")
    assert here.card == there.card


@pytest.mark.soak
@pytest.mark.parametrize("family", ["siglip", "vit", "convnext", "sentence"])
def test_every_family_gives_torchs_vectors(family: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    if family in ("siglip", "sentence"):
        getattr(checkpoints, family)(source)
    else:
        checkpoints.dual(source, family)
    exporter.export(str(source), tmp_path / "export")
    there, here = checkpoint.load(str(source), device="cpu"), load(str(tmp_path / "export"))
    texts = ["a red gun", "", "a large green bottle of wine on the water with dice"]
    assert np.abs(there.encode_text(texts).vectors - here.encode_text(texts).vectors).max() <= STEP
    if "image" in there.card.modalities:
        images = [jpeg(seed=n) for n in range(5)]
        assert np.abs(there.encode_images(images).vectors - here.encode_images(images).vectors).max() <= STEP


def test_a_checkpoint_that_changed_is_refused_with_both_identities(made: Path, changed: Path, tmp_path: Path) -> None:
    model = checkpoints.clip(tmp_path / "clip")
    with torch.no_grad():
        model.visual_projection.weight.mul_(2)
    model.save_pretrained(tmp_path / "clip")
    then, now = (checkpoint.describe(str(folder / "clip")).identity for folder in (made, tmp_path))
    assert now != then
    rewrite(changed, checkpoint=str(tmp_path / "clip"))
    with pytest.raises(CheckpointError, match=f"{then}.*is now {now}; export again"):
        load(str(changed))


def test_a_claimed_identity_is_not_believed(changed: Path) -> None:
    rewrite(changed, identity="0" * 32)
    with pytest.raises(CheckpointError, match="export again"):
        load(str(changed))


def test_damaged_and_missing_files_are_refused(changed: Path) -> None:
    tower = changed / "image.onnx"
    content = bytearray(tower.read_bytes())
    content[len(content) // 2] ^= 1
    tower.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"image\.onnx: SHA-256 is .*, the manifest says"):
        load(str(changed))
    tower.unlink()
    with pytest.raises(CheckpointError, match="No such file"):
        load(str(changed))
    (changed / MANIFEST_FILE).write_text("{}")
    with pytest.raises(CheckpointError, match="identity: Field required"):
        load(str(changed))
    (changed / MANIFEST_FILE).unlink()
    with pytest.raises(CheckpointError, match="moderation-onnx export"):
        load(str(changed))


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"dtype": "bfloat16"}])
def test_another_device_or_dtype_is_refused(made: Path, options: dict[str, str]) -> None:
    with pytest.raises(EncoderError, match="runs on device 'cpu' in 'float32'"):
        load(str(made / "export"), **options)


def test_a_tower_with_other_vectors_is_not_written(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter.Tower, "__call__", lambda _, *batch: torch.ones(len(batch[0]), 32))
    with pytest.raises(CheckpointError, match="from torch's vectors"):
        exporter.export(str(made / "clip"), tmp_path / "export")
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_this_machine_is_in_the_towers(made: Path) -> None:
    assert not any(b".py" in path.read_bytes() for path in (made / "export").glob("*.onnx"))


@pytest.mark.soak
def test_the_same_checkpoint_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    again = exporter.export(str(made / "clip"), tmp_path / "export")
    assert again == exporter.Manifest.model_validate_json((made / "export" / MANIFEST_FILE).read_bytes())
    for name in again.files:
        assert (tmp_path / "export" / name).read_bytes() == (made / "export" / name).read_bytes()


def test_the_command_writes_a_new_folder_only_and_says_what(made: Path) -> None:
    run = CliRunner().invoke(app, ["export", str(made / "clip"), "--out", str(made / "export")])
    assert run.exit_code == 2
    assert "there already" in " ".join(run.output.replace("│", " ").split())  # a long path breaks the line anywhere
