"""Loading: what is refused and why, what a fingerprint holds, cards that are derived."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from moderation.encoder import generic, locate
from moderation.encoder.bert import Bert
from moderation.encoder.checkpoint import describe, load
from moderation.encoder.weights import Weights
from moderation.errors import CheckpointError, EncoderError
from moderation.policy.lock import read_lock
from tests.conftest import ROOT
from tests.unit.encoder import checkpoints
from tests.unit.encoder.pictures import jpeg


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("originals")
    checkpoints.clip(root / "clip")
    checkpoints.siglip(root / "siglip")
    checkpoints.dual(root / "dual", "vit")
    checkpoints.write_card(root / "dual")
    checkpoints.dual(root / "resnet", "resnet")
    checkpoints.sentence(root / "sentence")
    return root


@pytest.fixture
def copy(originals: Path, tmp_path: Path) -> Callable[[str], Path]:
    def one(name: str) -> Path:
        return Path(shutil.copytree(originals / name, tmp_path / name))

    return one


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def refusal(reference: Path | str, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(str(reference), **options)
    return str(caught.value)


def test_the_card_of_a_clip_is_derived(originals: Path) -> None:
    card = load(str(originals / "clip")).card
    assert (card.name, card.width, card.activation, card.modalities) == ("clip", 32, "quick_gelu", ("image", "text"))
    assert card.image is not None
    assert card.text is not None
    assert (card.image.size, card.image.fit, card.image.resample) == (48, "crop", "bicubic")
    assert list(card.image.mean) == checkpoints.MEAN
    assert (card.text.context_length, card.text.padding, card.text.trim_exact) == (checkpoints.CONTEXT, "longest", True)


def test_the_card_of_a_siglip_pads_and_lowers(originals: Path) -> None:
    """transformers #26522: SigLIP was trained on lower case padded to the full length, and reads its padding."""
    card = load(str(originals / "siglip")).card
    assert card.text is not None
    assert card.image is not None
    assert (card.text.padding, card.text.trim_exact, card.text.lowercase) == ("max_length", False, True)
    assert (card.width, card.image.fit, card.image.mean) == (64, "stretch", (0.5, 0.5, 0.5))


def test_the_cards_of_resnet_and_sentence_encoders(originals: Path) -> None:
    resnet, sentence = load(str(originals / "resnet")).card, load(str(originals / "sentence")).card
    assert (resnet.width, resnet.activation) == (32, "relu")
    assert (sentence.modalities, sentence.width, sentence.image) == (("text",), 64, None)
    assert sentence.text is not None
    assert sentence.text.pooling == "mean"


def test_a_card_in_the_folder_is_used(originals: Path) -> None:
    encoder = load(str(originals / "dual"))
    assert encoder.card.name == "tiny"
    assert encoder.encode_text(["gun " * 30]).errors[0].reason == "text_too_long"
    assert "at most 24" in str(encoder.encode_text(["gun " * 30]).errors[0])


WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "width": ({"width": 64}, ("width is 64", "32 in the config")),
    "activation": ({"activation": "quick_gelu"}, ("activation is 'quick_gelu'", "'gelu' in the config")),
    "image size": ({"image": {"size": 64}}, ("image.size is 64", "48 in the config")),
    "context": ({"text": {"context_length": 77}}, ("text.context_length is 77", "40 in the config")),
    "modalities": ({"modalities": ["image"]}, ("modalities is ('image',)",)),
    "no text": ({"text": None}, ("modality 'text' is on the card without its section",)),
    "unknown key": ({"widht": 3}, ("widht", "Extra inputs")),
    "bad value": ({"image": {"fit": "squash"}}, ("image.fit", "'crop'")),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_card_that_does_not_fit_is_refused_with_both_values(name: str, copy: Callable[[str], Path]) -> None:
    changes, expected = WRONG[name]
    folder = copy("dual")
    checkpoints.write_card(folder, **changes)
    message = refusal(folder)
    assert all(part in message for part in expected), message


def test_several_disagreements_are_named_at_once(copy: Callable[[str], Path]) -> None:
    folder = copy("dual")
    checkpoints.write_card(folder, width=7, activation="relu")
    assert "width is 7" in refusal(folder)
    assert "activation is 'relu'" in refusal(folder)


def test_the_context_of_a_clip_is_exact(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    checkpoints.write_card(folder, activation="quick_gelu", text={"context_length": 24})
    assert "text.context_length is 24 on the card but 40" in refusal(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "model.ckpt"])
def test_pickled_weights_are_refused(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / "model.safetensors").rename(folder / name)
    message = refusal(folder)
    assert name in message
    assert "can run code" in message


def test_pickled_weights_beside_safetensors_are_not_read(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert load(str(folder)).card.width == 32


def test_code_in_a_checkpoint_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    edit(folder / "config.json", lambda config: config.update(auto_map={"AutoModel": "evil.Model"}))
    assert "run its own code" in refusal(folder)


def test_missing_weights_are_refused_not_made_up(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "visual_projection.weight" in refusal(folder)


def test_weights_of_the_wrong_shape_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["visual_projection.weight"] = torch.zeros(32, 65)
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "visual_projection.weight" in refusal(folder)


@pytest.mark.parametrize("damage", [b"", b"\xff" * 100, None])
def test_damaged_weights_are_refused(damage: bytes | None, copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    assert "do not load" in refusal(folder)


@pytest.mark.parametrize(("file", "found"), [
    ("config.json", "no config.json"), ("model.safetensors", "no weights"), ("preprocessor_config.json", "missing"),
    ("tokenizer.json", "tokenizer"),
])  # fmt: skip
def test_a_missing_file_is_named(file: str, found: str, copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    (folder / file).unlink()
    assert found in refusal(folder)


@pytest.mark.parametrize(("change", "found"), [
    ({"model_type": "gpt2"}, "model_type 'gpt2'"), ({"model_type": "siglip2"}, "NaFlex"), ({"model_type": None}, "model_type None"),
])  # fmt: skip
def test_other_kinds_of_checkpoint_are_refused(change: dict[str, Any], found: str, copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    edit(folder / "config.json", lambda config: config.update(change))
    assert found in refusal(folder)


@pytest.mark.parametrize("name", ["clip", "siglip", "dual", "sentence"])
@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"num_attention_heads": -2}, "the text tower does not run: "),
        ({"layer_norm_eps": -1e9}, "the text tower gives a vector of norm nan; expected 1"),
    ],
)
def test_a_tower_that_loads_but_does_not_run_is_refused(
    name: str, change: dict[str, Any], found: str, copy: Callable[[str], Path]
) -> None:
    folder = copy(name)
    edit(folder / "config.json", lambda config: config.get("text_config", config).update(change))
    assert refusal(folder).startswith(f"{folder}: {found}")


@pytest.mark.parametrize("name", ["clip", "siglip", "dual", "sentence"])
def test_a_token_that_the_tower_does_not_know_is_refused(name: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    edit(folder / "tokenizer.json", lambda tokens: tokens["model"]["vocab"].update(gun=60))
    assert refusal(folder).endswith("the tokenizer has ids up to 60, the text tower only up to 59 (vocab_size)")


def test_an_image_tower_that_does_not_run_is_refused_too(tmp_path: Path) -> None:
    folder = shutil.copytree(locate.BUNDLED, tmp_path / "encoder")
    edit(folder / "config.json", lambda config: config["vision_config"].update(layer_norm_eps=-1e9))
    assert refusal(folder).startswith(f"{folder}: the image tower does not run: batch_norm eps must be non-negative")


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": ["gelu"]}, {"num_attention_heads": 7}, {"num_attention_heads": 0}, {"vocab_size": 0}],
    ids=str,
)
def test_a_tower_that_makes_no_sense_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    folder = shutil.copytree(locate.BUNDLED, tmp_path / "encoder")
    edit(folder / "config.json", lambda config: config["text_config"].update(change))
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("change", [
    {"size": {"shortest_edge": 52}}, {"do_center_crop": False}, {"crop_pct": 0.875}, {"resample": 0}, {"rescale_factor": 1.0},
])  # fmt: skip
def test_preprocessing_that_a_card_cannot_say_is_refused(change: dict[str, Any], copy: Callable[[str], Path]) -> None:
    folder = copy("clip")
    edit(folder / "preprocessor_config.json", lambda spec: spec.update(change))
    assert "preprocessor_config.json" in refusal(folder)


@pytest.mark.parametrize("pooling", [{"pooling_mode_max_tokens": True}, {"pooling_mode_cls_token": True}])
def test_two_poolings_at_once_are_refused(pooling: dict[str, bool], copy: Callable[[str], Path]) -> None:
    folder = copy("sentence")
    edit(folder / "1_Pooling" / "config.json", lambda spec: spec.update(pooling))
    assert "expected mean or cls, alone" in refusal(folder)


def test_a_sentence_encoder_with_further_layers_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("sentence")
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"type": "sentence_transformers.models.Dense", "path": "2_Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "Dense" in refusal(folder)


def test_a_sentence_encoder_that_wants_a_prompt_before_every_text_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("sentence")
    said = folder / "config_sentence_transformers.json"
    said.write_text(json.dumps({"default_prompt_name": "query", "prompts": {"query": "query: ", "document": ""}}))
    assert "default_prompt_name 'query'" in refusal(folder)
    for name in (None, "document"):
        said.write_text(json.dumps({"default_prompt_name": name, "prompts": {"query": "query: ", "document": ""}}))
        load(str(folder))


def test_a_sentence_encoder_is_read_in_the_layout_of_today(copy: Callable[[str], Path]) -> None:
    """As sentence-transformers 6 writes it: other types, the pooling by one word, the longest text beside the tokenizer."""
    folder = copy("sentence")
    before = load(str(folder))
    kinds = (
        "base.modules.transformer.Transformer",
        "sentence_transformer.modules.pooling.Pooling",
        "base.modules.normalize.Normalize",
    )
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [{"type": f"sentence_transformers.{kind}", "path": path} for kind, path in zip(kinds, paths, strict=True)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean", "include_prompt": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"module_output_name": "token_embeddings"}))
    edit(folder / "tokenizer_config.json", lambda config: config.update(model_max_length=7))
    after = load(str(folder))
    assert before.card.text is not None
    assert after.card.text == before.card.text.model_copy(update={"context_length": 7})
    assert np.array_equal(after.encode_text(["a gun"]).vectors, before.encode_text(["a gun"]).vectors)


@pytest.mark.parametrize("reference", ["/no/such/folder", "./nowhere", "~/nowhere-at-all", "../a b"])
def test_a_folder_that_is_not_there(reference: str) -> None:
    assert "no such folder" in refusal(reference)


def test_a_file_is_not_a_checkpoint(copy: Callable[[str], Path]) -> None:
    assert "found a file" in refusal(copy("clip") / "config.json")


def test_a_hub_id_that_cannot_be_had() -> None:
    message = refusal("nobody/no-such-model@v1")
    assert "nobody/no-such-model@v1" in message
    assert "local hub cache" in message


@pytest.mark.parametrize("name", ["no-such-package", "json", "os.path", ""])
def test_a_package_without_a_checkpoint(name: str) -> None:
    assert f"package:{name}" in refusal(f"package:{name}")


def test_wrong_options_are_named(originals: Path) -> None:
    for options in ({"device": "abacus"}, {"dtype": "float64"}):
        with pytest.raises(EncoderError, match="expected"):
            load(str(originals / "clip"), **options)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is here")
def test_a_gpu_that_is_not_there_is_an_error(originals: Path) -> None:
    with pytest.raises(EncoderError, match="finds no CUDA GPU"):
        load(str(originals / "clip"), device="cuda")


def identity(folder: Path) -> str:
    return load(str(folder), device="cpu").fingerprint.identity


def test_the_identity_is_of_the_content_not_the_place(originals: Path, copy: Callable[[str], Path]) -> None:
    assert identity(copy("dual")) == identity(originals / "dual")
    assert len(identity(originals / "dual")) == 32


def test_the_identity_is_the_same_in_every_version_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = read_lock(ROOT / "policies" / "weapons.lock.json")
    assert describe("bundled").identity == shipped.encoder_identity
    monkeypatch.setattr(Bert, "is_whole", lambda _: False)  # transformers is asked for what the config leaves out
    assert describe("bundled").identity == shipped.encoder_identity


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"licence": "MIT"}, {"metrics": {"auc": 1}}, {"text": {"languages": ["de"]}}]
)
def test_what_is_for_people_does_not_change_the_identity(
    changes: dict[str, Any], copy: Callable[[str], Path], originals: Path
) -> None:
    folder = copy("dual")
    checkpoints.write_card(folder, **changes)
    assert identity(folder) == identity(originals / "dual")


def change_card(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: checkpoints.write_card(folder, **changes)


def change_weights(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["logit_scale"] += 1
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


CHANGES: dict[str, Callable[[Path], None]] = {
    "fit": change_card(image={"fit": "crop"}),
    "mean": change_card(image={"mean": [0.5, 0.5, 0.5]}),
    "pad beyond": change_card(image={"pad_beyond": 2.0}),
    "context": change_card(text={"context_length": 25}),
    "padding": change_card(text={"padding": "max_length"}),
    "lower case": change_card(text={"lowercase": True}),
    "pooling": change_card(text={"pooling": "mean"}),
    "weights": change_weights,
    "config": lambda folder: edit(
        folder / "config.json", lambda config: config["text_config"].update(layer_norm_eps=1e-3)
    ),
    "tokenizer": lambda folder: edit(folder / "tokenizer.json", lambda value: value.update(normalizer=None)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_vectors_changes_the_identity(name: str, copy: Callable[[str], Path], originals: Path) -> None:
    folder = copy("dual")
    CHANGES[name](folder)
    assert identity(folder) != identity(originals / "dual")


def test_bookkeeping_of_the_libraries_does_not_change_the_identity(
    copy: Callable[[str], Path], originals: Path
) -> None:
    folder = copy("dual")
    edit(folder / "config.json", lambda config: config.update(transformers_version="9.9", _name_or_path="elsewhere"))
    assert identity(folder) == identity(originals / "dual")


def test_half_precision_weights_are_read_into_float32(copy: Callable[[str], Path], originals: Path) -> None:
    folder = copy("dual")
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    half = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    safetensors.torch.save_file(half, folder / "model.safetensors", metadata={"format": "pt"})
    found, expected = load(str(folder)).encode_images([jpeg()]), load(str(originals / "dual")).encode_images([jpeg()])
    assert np.abs(found.vectors.astype(float) - expected.vectors.astype(float)).max() < 5e-3


def test_weights_whose_names_are_unusual_are_left_to_transformers(
    originals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(str(originals / "clip"))
    monkeypatch.setattr(Weights, "read", lambda *_: Weights({}))
    after = load(str(originals / "clip"))
    assert after.encode_images([jpeg()]).vectors.tobytes() == before.encode_images([jpeg()]).vectors.tobytes()
    assert after.encode_text(["a gun"]).vectors.tobytes() == before.encode_text(["a gun"]).vectors.tobytes()


def test_bundled_means_the_folder_in_the_package(
    monkeypatch: pytest.MonkeyPatch, originals: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(locate, "BUNDLED", originals / "dual")
    assert load("bundled").card.name == "tiny"
    monkeypatch.setattr(locate, "BUNDLED", tmp_path / "absent")
    assert "bundled encoder is not part of this installation" in refusal("bundled")


def test_loading_is_silent_and_leaves_the_switches_alone(
    originals: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled(), logging.get_verbosity()
    load(str(originals / "sentence"))  # its pooler is missing, and not needed
    assert (logging.is_progress_bar_enabled(), logging.get_verbosity()) == before
    assert (capfd.readouterr().err, caplog.records) == ("", [])


def test_every_family_has_a_model() -> None:
    assert set(generic._MODELS) == {"clip", "siglip", "dual", "sentence"}
