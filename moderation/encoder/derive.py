"""The card of a checkpoint that has none, read from its configuration files; what they do not say is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from moderation.encoder.card import EncoderCard, ImageCard, TextCard
from moderation.errors import CheckpointError

Family = Literal["clip", "siglip", "dual", "sentence"]

_FAMILIES: dict[str, Family] = {"clip": "clip", "siglip": "siglip", "vision-text-dual-encoder": "dual"}
_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
_POOLINGS: dict[str, Literal["mean", "cls"]] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_SENTENCE_MODULES = {"Transformer", "Pooling", "Normalize"}
# Text transformers that start counting positions after the padding id.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})


def family_of(config: dict[str, Any], folder: Path) -> Family:
    """Which kind of checkpoint this is; raises CheckpointError for kinds that are not supported."""
    kind = config.get("model_type")
    if kind in _FAMILIES:
        return _FAMILIES[str(kind)]
    if kind == "siglip2":
        raise CheckpointError(
            f"{folder}: a SigLIP2 checkpoint of variable resolution (NaFlex); expected one of fixed resolution, "
            f"whose model_type is 'siglip'"
        )
    if (folder / "modules.json").is_file():
        return "sentence"
    raise CheckpointError(
        f"{folder}: model_type {kind!r}; expected clip, siglip, vision-text-dual-encoder, or a sentence encoder "
        f"with modules.json"
    )


def derive_card(folder: Path, config: dict[str, Any], family: Family, *, name: str) -> EncoderCard:
    """The card that a checkpoint's own files imply. Raises CheckpointError naming what they leave open."""
    if family == "sentence":
        text = _sentence_card(folder, config)
        return EncoderCard.model_validate(
            {
                "name": name,
                "modalities": ("text",),
                "width": config["hidden_size"],
                "activation": activation(config),
                "text": text,
            }
        )
    return EncoderCard.model_validate(
        {
            "name": name,
            "modalities": ("image", "text"),
            "width": projection_width(config, family),
            "activation": activation(config),
            "image": image_card(folder),
            "text": _paired_text_card(folder, config, family),
        }
    )


def activation(config: dict[str, Any]) -> str:
    """The activation of the tower a card speaks of: the image tower's, or the text tower's where it is alone."""
    return str(config.get("vision_config", config).get("hidden_act", "unknown"))


def projection_width(config: dict[str, Any], family: Family) -> int:
    """The width of a checkpoint's vectors."""
    if family == "sentence":
        return int(config["hidden_size"])
    if family == "siglip":
        return int(config["vision_config"]["hidden_size"])
    return int(config["projection_dim"])


def positions(config: dict[str, Any]) -> int:
    """How many tokens a text tower can tell apart."""
    text = config.get("text_config", config)
    count = int(text["max_position_embeddings"])
    return count - int(text.get("pad_token_id") or 0) - 1 if text.get("model_type") in _OFFSET_POSITIONS else count


def vocabulary(config: Mapping[str, Any]) -> int:
    """How many ids of tokens a text tower knows."""
    return int(config.get("text_config", config)["vocab_size"])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises CheckpointError where it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: missing") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: found {type(value).__name__}; expected an object")
    return value


def image_card(folder: Path) -> ImageCard:
    """How pictures are prepared, by a folder's processor file. Raises CheckpointError naming what it leaves open."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        path = folder / "processor_config.json"
    spec = read_json(path)
    spec = spec.get("image_processor", spec)
    resample = _RESAMPLE.get(spec.get("resample", 3))
    if resample is None:
        raise CheckpointError(f"{path}: resample {spec['resample']!r}; expected 2 (bilinear) or 3 (bicubic)")
    if abs(spec.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise CheckpointError(f"{path}: rescale_factor {spec['rescale_factor']}; expected 1/255")
    size, how = _size_and_fit(spec, path)
    try:
        mean, std = tuple(spec["image_mean"]), tuple(spec["image_std"])
    except KeyError as error:
        raise CheckpointError(f"{path}: {error.args[0]} is missing; a card.json would say it") from None
    return ImageCard(size=size, mean=mean, std=std, resample=resample, fit=how)


def _size_and_fit(spec: dict[str, Any], path: Path) -> tuple[int, Literal["crop", "stretch"]]:
    size, crop = spec.get("size"), spec.get("crop_size")
    if isinstance(size, int):
        size = {"shortest_edge": size} if spec.get("do_center_crop") else {"height": size, "width": size}
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    if isinstance(size, dict) and not spec.get("crop_pct"):
        short, height = size.get("shortest_edge"), size.get("height")
        if short and spec.get("do_center_crop") and crop == {"height": short, "width": short}:
            return int(short), "crop"
        if height and height == size.get("width") and not spec.get("do_center_crop"):
            return int(height), "stretch"
    raise CheckpointError(
        f"{path}: size {size}, crop_size {crop}, do_center_crop {spec.get('do_center_crop')}, crop_pct "
        f"{spec.get('crop_pct')}; expected a short side cropped to the same square, or a square"
    )


def _paired_text_card(folder: Path, config: dict[str, Any], family: Family) -> TextCard:
    context = positions(config)
    if family == "siglip":
        return TextCard(context_length=context, padding="max_length", trim_exact=False, lowercase=True)
    if family == "dual":
        limit = _tokenizer_limit(folder)
        context = min(context, limit) if limit else context
    return TextCard(context_length=context, padding="longest", trim_exact=True)


def _tokenizer_limit(folder: Path) -> int | None:
    path = folder / "tokenizer_config.json"
    limit = read_json(path).get("model_max_length") if path.is_file() else None
    return int(limit) if limit and limit < 1e9 else None  # 1e30 stands for "not said"


def _check_prompt(folder: Path) -> None:
    """Refuses an encoder that would have a prompt put before every text, which nobody does here: its vectors would be others."""
    path = folder / "config_sentence_transformers.json"
    said = read_json(path) if path.is_file() else {}
    name = said.get("default_prompt_name")
    if name is not None and (said.get("prompts") or {}).get(name):
        raise CheckpointError(f"{path}: default_prompt_name {name!r}; expected none, for texts are encoded as they are")


def _sentence_card(folder: Path, config: dict[str, Any]) -> TextCard:
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds) <= _SENTENCE_MODULES:
        raise CheckpointError(f"{folder}: modules {kinds}; expected Transformer, Pooling and at most Normalize")
    pooling = read_json(folder / modules[1]["path"] / "config.json")
    modes = [mode for mode, on in pooling.items() if mode.startswith("pooling_mode") and on]
    modes = [f"pooling_mode_{pooling['pooling_mode']}"] if isinstance(pooling.get("pooling_mode"), str) else modes
    known = {**_POOLINGS, "pooling_mode_mean": "mean", "pooling_mode_cls": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise CheckpointError(f"{folder}: pooling {modes}; expected mean or cls, alone")
    _check_prompt(folder)
    transformer = read_json(folder / "sentence_bert_config.json")
    longest = transformer.get("max_seq_length") or _tokenizer_limit(folder)  # where sentence-transformers 6 writes it
    context = min(int(longest or positions(config)), positions(config))
    return TextCard.model_validate(
        {
            "context_length": context,
            "padding": "longest",
            "trim_exact": True,
            "lowercase": bool(transformer.get("do_lower_case")),
            "pooling": known[modes[0]],
        }
    )
