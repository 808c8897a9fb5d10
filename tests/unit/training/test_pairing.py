"""Both towers learn from pictures with captions: every kind of start, lock, adapter and loss, and what comes out at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from moderation.encoder.card import EncoderCard
from moderation.encoder.checkpoint import load
from moderation.errors import TrainingError
from moderation.training import checkpoint
from moderation.training.loop import Progress, train
from tests.unit.training.runs import picture, prepare, run, write

SCRATCH_VIT = 'image = {kind = "vit", size = 32, patch = 8, width = 32, layers = 1, heads = 2}'
SCRATCH_RESNET = 'image = {kind = "resnet", size = 32, depths = [1, 1], widths = [16, 32]}'
SCRATCH_TEXT = 'text = {tokenizer = "sentence", context = 16, width = 32, layers = 1, heads = 2}'

STARTS = {
    "clip": '[model]\nstart = "clip"',
    "siglip": '[model]\nstart = "siglip"\n[loss]\nkind = "sigmoid"',
    "dual-vit": '[model]\nstart = "vit"',
    "dual-resnet": '[model]\nstart = "resnet"',
    "scratch-vit": f"[model]\nwidth = 16\n{SCRATCH_VIT}\n{SCRATCH_TEXT}",
    "scratch-resnet": f"[model]\nwidth = 16\n{SCRATCH_RESNET}\n{SCRATCH_TEXT}",
    "scratch-sigmoid": f'[model]\nwidth = 16\n{SCRATCH_VIT}\n{SCRATCH_TEXT}\n[loss]\nkind = "sigmoid"',
    "lit": f'[model]\nwidth = 16\n{SCRATCH_VIT}\ntext = "sentence"\nlock = ["text"]',
    "lora": '[model]\nstart = "clip"\nlora = {rank = 4}',
    "taught": '[model]\nstart = "vit"\n[loss]\nteacher = "clip"\nteacher_share = 0.5',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairing")
    prepare(root)
    return root


def losses(seen: list[Progress]) -> list[float]:
    return [one.loss for one in seen]


def weights(folder: Path, name: str, part: str = "model.") -> dict[str, torch.Tensor]:
    tensors, _ = checkpoint.load(folder / name / "checkpoint.safetensors")
    return {key.removeprefix(part): one for key, one in tensors.items() if key.startswith(part)}


@pytest.mark.parametrize("name", STARTS)
def test_every_start_learns_and_ends_as_a_checkpoint_that_ours_and_transformers_load_alike(
    name: str, folder: Path
) -> None:
    seen = run(folder, name, STARTS[name], steps=20, batch=12)
    assert np.mean(losses(seen)[-4:]) < 0.9 * np.mean(losses(seen)[:2])
    out = folder / name / "encoder"
    ours = load(str(out), device="cpu")
    texts = ["a red gun", "the bottle of green"]
    pictures = [picture("red", "gun", 1), picture("green", "bottle", 2)]
    theirs = transformers.AutoModel.from_pretrained(out).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(out)(texts, padding=True, return_tensors="pt")
    card = EncoderCard.model_validate_json((out / "card.json").read_text(encoding="utf-8"))
    assert card == ours.card
    with torch.inference_mode():
        if card.text is not None and card.text.pooling == "pooler":
            mask = {} if name == "siglip" else {"attention_mask": tokens["attention_mask"]}
            if name == "siglip":
                tokens = transformers.AutoTokenizer.from_pretrained(out)(
                    texts, padding="max_length", max_length=card.text.context_length, return_tensors="pt"
                )
            read = theirs.get_text_features(input_ids=tokens["input_ids"], **mask)
            agree(read, ours.encode_text(texts).vectors)
        if "resnet" not in name:  # transformers' dual encoder does not flatten what its own ResNet pools
            pixels = processor(out)([Image.open(BytesIO(one)).convert("RGB") for one in pictures], return_tensors="pt")
            agree(theirs.get_image_features(**pixels), ours.encode_images(pictures).vectors)


def processor(folder: Path) -> Callable[..., Mapping[str, torch.Tensor]]:
    """The processor that the folder names; AutoImageProcessor of transformers 5.4 wants torchvision even for the Pillow ones."""
    named = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))["image_processor_type"]
    return getattr(transformers, f"{named.removesuffix('Pil')}Pil").from_pretrained(folder)  # type: ignore[no-any-return]


def agree(theirs: object, ours: np.ndarray) -> None:
    vectors = theirs if isinstance(theirs, torch.Tensor) else theirs.pooler_output  # type: ignore[attr-defined]
    unit = torch.nn.functional.normalize(vectors.float(), dim=1).numpy()
    np.testing.assert_allclose(ours.astype(np.float32), unit, atol=1e-3)


@pytest.mark.parametrize(("side", "other"), [("image", "text"), ("text", "image")])
def test_a_locked_tower_stays_to_the_last_bit_and_the_other_learns(side: str, other: str, folder: Path) -> None:
    run(folder, f"locked-{side}", f'[model]\nstart = "clip"\nlock = ["{side}"]')
    start = transformers.CLIPModel.from_pretrained(folder / "clip").state_dict()
    for name, tensor in weights(folder, f"locked-{side}").items():
        before = start.get(name.removeprefix("model."))
        if before is not None and name.startswith(f"model.{side}_model."):
            assert torch.equal(tensor, before), name
    moved = [
        not torch.equal(tensor, start[name.removeprefix("model.")])
        for name, tensor in weights(folder, f"locked-{side}").items()
        if name.startswith(f"model.{other}_model.") and name.endswith("weight") and tensor.ndim > 1
    ]
    assert all(moved)


def test_adapters_leave_the_base_as_it_is_and_are_folded_into_what_is_exported(folder: Path) -> None:
    run(folder, "adapted", '[model]\nstart = "clip"\nlora = {rank = 2}')
    start = transformers.CLIPModel.from_pretrained(folder / "clip").state_dict()
    kept = weights(folder, "adapted", "model.model.")
    seen = 0
    for name, before in start.items():
        module, _, kind = name.rpartition(".")
        stored = kept.get(f"{module}.base_layer.{kind}")
        if stored is not None:
            seen += 1
            assert torch.equal(stored, before), name
    assert seen > 20
    exported = transformers.CLIPModel.from_pretrained(folder / "adapted" / "encoder").state_dict()
    assert exported.keys() == start.keys()
    changed = [name for name in start if not torch.equal(start[name], exported[name])]
    assert any("q_proj.weight" in name for name in changed)


def test_gradient_caching_gives_the_losses_of_the_whole_batch(folder: Path) -> None:
    whole = run(folder, "whole", '[model]\nstart = "vit"')
    for size in (3, 8):
        cached = run(folder, f"cached-{size}", f'[model]\nstart = "vit"\n[loss]\nsub_batch = {size}')
        if size == 8:
            assert losses(cached) == losses(whole)
    # Dropout falls otherwise on three than on eight, so that only a tower without it can be compared.
    plain = run(folder, "plain", '[model]\nstart = "clip"')
    parts = run(folder, "parts", '[model]\nstart = "clip"\n[loss]\nsub_batch = 3')
    assert losses(parts) == pytest.approx(losses(plain), abs=1e-4)


def test_recomputed_activations_change_nothing(folder: Path) -> None:
    plain = run(folder, "remembered", '[model]\nstart = "clip"')
    again = run(folder, "recomputed", '[model]\nstart = "clip"\ncheckpointing = true')
    assert losses(again) == pytest.approx(losses(plain), abs=1e-5)


def test_left_out_patches_are_left_out_in_training_only(folder: Path) -> None:
    seen = run(folder, "patches", '[model]\nstart = "clip"\npatch_dropout = 0.5')
    assert losses(seen) != losses(run(folder, "no-patches", '[model]\nstart = "clip"'))
    assert (
        load(str(folder / "patches" / "encoder"), device="cpu").encode_images([picture("red", "gun", 0)]).errors == {}
    )
    with pytest.raises(TrainingError, match="kind 'resnet' has no patches"):
        run(folder, "no-vit", '[model]\nstart = "resnet"\npatch_dropout = 0.5')


def test_bfloat16_learns_too_and_keeps_its_weights_in_float32(folder: Path) -> None:
    seen = run(folder, "half", '[model]\nstart = "clip"', top='precision = "bf16"')
    assert losses(seen) == pytest.approx(losses(run(folder, "full", '[model]\nstart = "clip"')), rel=0.2)
    assert {one.dtype for one in weights(folder, "half").values() if one.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
def test_what_is_exported_lies_between_start_and_end(keep: float, folder: Path) -> None:
    name = f"keep-{keep}"
    run(folder, name, '[model]\nstart = "clip"', top=f"keep_start = {keep}")
    start = transformers.CLIPModel.from_pretrained(folder / "clip").state_dict()
    exported = transformers.CLIPModel.from_pretrained(folder / name / "encoder").state_dict()
    average = weights(folder, name, "average.model.")
    for key in ("visual_projection.weight", "text_model.encoder.layers.0.mlp.fc1.weight"):
        torch.testing.assert_close(exported[key], torch.lerp(average[key], start[key], keep))


def test_every_step_is_in_the_log_and_the_curves_are_drawn(folder: Path) -> None:
    seen = run(folder, "logged", '[model]\nstart = "clip"')
    rows = [json.loads(line) for line in (folder / "logged" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in rows] == losses(seen)
    assert set(rows[0]) >= {"loss", "rate", "scale", "size", "tokens", "waited", "broken", "pictures_per_second"}
    curves = (folder / "logged" / "curves.svg").read_text(encoding="utf-8")
    assert curves.startswith("<svg")
    assert ">loss</text>" in curves
    assert list((folder / "logged" / "tensorboard").glob("events.*"))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ('[model]\nstart = "clip"\nlock = ["image", "text"]\n[loss]\nkind = "softmax"', None),
        ('[model]\nstart = "sentence"', "reads text; expected pictures and text"),
        (
            f'[model]\n{SCRATCH_TEXT}\nimage = {{kind = "vit", size = 33, patch = 8, width = 32, heads = 2}}',
            "divide evenly",
        ),
        (f'[model]\n{SCRATCH_VIT}\ntext = "clip"', "holds two towers"),
        ('[model]\nstart = "clip"\nimage = "vit"', "expected either 'start', or both"),
        ('[model]\nstart = "clip"\npatch_droput = 0.5', "no such key; did you mean 'patch_dropout'"),
    ],
)
def test_what_cannot_start_says_why(sections: str, message: str | None, folder: Path) -> None:
    name = f"bad-{abs(hash(sections))}"
    if message is None:
        run(folder, name, sections)  # the scale still learns
        return
    with pytest.raises(TrainingError, match=message):
        run(folder, name, sections)


def test_what_is_left_out_of_the_data_and_what_was_replaced_is_told(folder: Path) -> None:
    rows = (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    (folder / "pictures" / "torn.png").write_bytes(b"no picture")
    torn = '{"path": "pictures/torn.png", "caption": "torn"}'
    (folder / "worn.jsonl").write_text(
        "\n".join([*rows, torn, '{"path": "pictures/0.png"}', "garbage"]), encoding="utf-8"
    )
    path = write(folder, "worn", '[model]\nstart = "clip"', steps=4, batch=4)
    path.write_text(path.read_text(encoding="utf-8").replace("captions.jsonl", "worn.jsonl"), encoding="utf-8")
    events: list[str] = []
    train(path, progress=lambda _: events.append("step"), note=events.append)
    assert events[0].startswith("2 of 15 records are left out: ")
    assert events[1:5] == ["step"] * 4
    assert "times a record could not be read and another took its place" in events[5]
    assert "torn.png" in events[5]
    assert len(events) == 6


def test_a_folder_that_cannot_be_written_is_said_before_the_first_step(folder: Path) -> None:
    (folder / "file").write_text("", encoding="utf-8")
    nowhere = write(folder, "nowhere", '[model]\nstart = "clip"')
    nowhere.write_text(nowhere.read_text(encoding="utf-8").replace('"nowhere"', '"file/run"'), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"file/run: the run's folder cannot be written: Not a directory"):
        train(nowhere)
