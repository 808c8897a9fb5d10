"""A trained pair of towers as a checkpoint folder in Hugging Face's layout, with the card that our encoder reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil, ViTImageProcessorPil

from moderation.encoder.card import CARD_FILE, ImageCard
from moderation.encoder.tokens import TextTokenizer
from moderation.errors import TrainingError
from moderation.training.dual import Dual

ENCODER = "encoder"
_RESAMPLE = {"bilinear": 2, "bicubic": 3}


def write_encoder(folder: Path, dual: Dual, tokenizer: TextTokenizer, metrics: Mapping[str, Any]) -> Path:
    """The folder `encoder` in a run's folder, written whole or not at all; `metrics` go to its card."""
    model = dual.merged().cpu()
    out, unfinished = folder / ENCODER, folder / f"{ENCODER}.writing"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(unfinished)
        forget_paths(unfinished / "config.json")
        context = tokenizer.card.context_length
        tokenizer.backend.model_max_length = context
        tokenizer.backend.save_pretrained(unfinished)
        card = dual.card.model_copy(
            update={"name": folder.name, "metrics": dict(metrics), "trained_on": (), "licence": None}
        )
        assert card.image is not None, "a dual encoder reads pictures"  # noqa: S101
        _processor(dual.family, card.image).save_pretrained(unfinished)
        text = json.dumps(card.model_dump(mode="json", by_alias=True), indent=2)
        (unfinished / CARD_FILE).write_text(f"{text}\n", encoding="utf-8")
        shutil.rmtree(out, ignore_errors=True)
        unfinished.replace(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise TrainingError(f"{out}: the encoder cannot be written: {error}; the checkpoint is whole") from None
    return out


def _processor(family: str, card: ImageCard) -> Any:
    """Transformers' own preparation of pictures, which ours agrees with where no picture is long."""
    shared = {"image_mean": list(card.mean), "image_std": list(card.std), "resample": _RESAMPLE[card.resample]}
    square = {"height": card.size, "width": card.size}
    if card.fit == "crop":
        return CLIPImageProcessorPil(size={"shortest_edge": card.size}, crop_size=square, **shared)
    return (SiglipImageProcessorPil if family == "siglip" else ViTImageProcessorPil)(size=square, **shared)


def forget_paths(file: Path) -> None:
    """Take out where towers were loaded from, which transformers writes: nobody's business, and it would move the fingerprint."""

    def without(value: Any) -> Any:
        plain = isinstance(value, dict)
        return {key: without(one) for key, one in value.items() if key != "_name_or_path"} if plain else value

    config = without(json.loads(file.read_text(encoding="utf-8")))
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
