"""Where a run starts: a checkpoint, or towers joined or made from nothing, with the card and the tokenizer that go with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from moderation.encoder.card import EncoderCard, ImageCard, TextCard
from moderation.encoder.checkpoint import describe, model_of
from moderation.encoder.derive import Family, activation, derive_card, image_card, positions, read_json
from moderation.encoder.generic import load_tokenizer
from moderation.encoder.locate import locate, weight_files
from moderation.encoder.tokens import TextTokenizer
from moderation.errors import CheckpointError, TrainingError
from moderation.training.config import PairRun
from moderation.training.dual import Dual, drop_patches, set_scale
from moderation.training.model_config import ImageScratch, TextScratch

HALF = (0.5, 0.5, 0.5)
# What joins two towers learns even where both are locked.
_JOINTS = frozenset({"visual_projection.weight", "text_projection.weight", "logit_scale"})
# Towers whose first token is no patch.
_CLASS_TOKEN = frozenset({"clip_vision_model", "vit", "deit", "dinov2"})


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """The module that learns, its tokenizer, and the names of parameters that are new, which learn at the full rate."""

    dual: Dual
    tokenizer: TextTokenizer
    new: frozenset[str]


def make_start(run: PairRun) -> Start:
    """What the run's `model` section says. Raises TrainingError, or CheckpointError for a checkpoint that is not sound."""
    settings = run.model
    torch.manual_seed(run.seed)
    if settings.start is not None:
        found = describe(settings.start)
        if set(found.card.modalities) != {"image", "text"}:
            raise TrainingError(
                f"{settings.start}: reads {', '.join(found.card.modalities)}; expected pictures and text"
            )
        model = model_of(found).requires_grad_(True)
        start = _start(run, model, found.family, found.card, load_tokenizer(found.folder, found.card), new=())
    else:
        start = _joined(run)
    dual = start.dual
    dual.lock(settings.lock)
    joints = {name: one for name, one in dual.model.named_parameters() if name in _JOINTS}
    if settings.projections and len(joints) == 1:
        raise TrainingError(
            f"model.projections: {settings.start} has none beside its towers; expected a CLIP or a dual encoder"
        )
    for name, parameter in joints.items():
        if settings.projections or name in start.new:
            parameter.requires_grad_(True)
    if settings.patch_dropout and "image" in settings.lock:
        raise TrainingError("model.patch_dropout: the image tower is locked; expected one that learns")
    if settings.patch_dropout:
        _drop_patches(dual, settings.patch_dropout)
    if settings.checkpointing:
        _recompute(dual)
    if settings.lora:
        before = {id(parameter) for parameter in dual.model.parameters()}
        dual.adapt(settings.lora)
        adapters = (name for name, one in dual.model.named_parameters() if id(one) not in before)
        return Start(dual, start.tokenizer, frozenset({*start.new, *adapters}))
    return start


def _start(
    run: PairRun, model: Any, family: Family, card: EncoderCard, tokens: TextTokenizer, *, new: tuple[str, ...]
) -> Start:
    bias = float(getattr(model, "logit_bias", torch.tensor(run.loss.bias)).detach().reshape(()))
    for unused in _unused(model, card):
        unused.requires_grad_(False)
    dual = Dual(model, family, card, largest_scale=run.loss.largest_scale, bias=bias)
    return Start(dual, tokens, frozenset(new))


def _unused(model: Any, card: EncoderCard) -> Iterator[torch.nn.Parameter]:
    """What no vector and no loss depends on, and several processes would wait for the gradients of."""
    if hasattr(model, "logit_bias"):  # learns as the module's own bias, and is written back at the end
        yield model.logit_bias
    pooler = getattr(model.text_model, "pooler", None)
    if card.text is not None and card.text.pooling != "pooler" and pooler is not None:
        yield from pooler.parameters()
    yield from (one for name, one in model.vision_model.named_parameters() if name.endswith("mask_token"))


def _joined(run: PairRun) -> Start:
    """Two towers in one vision-text dual encoder with new projections."""
    image, text = run.model.image, run.model.text
    assert image is not None, "checked by the configuration"  # noqa: S101
    assert text is not None, "checked by the configuration"  # noqa: S101
    vision, picture = _made_image(image) if isinstance(image, ImageScratch) else _image_tower(image)
    words, tokens = _made_text(text) if isinstance(text, TextScratch) else _text_tower(text)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        vision.config, words.config, projection_dim=run.model.width
    )
    model = transformers.VisionTextDualEncoderModel(config, vision_model=vision, text_model=words)
    set_scale(model, run.loss.scale)
    card = EncoderCard(
        name=run.out.name,
        modalities=("image", "text"),
        width=run.model.width,
        activation=activation(config.to_dict()),
        image=picture,
        text=tokens.card,
    )
    fresh = [f"vision_model.{name}" for name, _ in vision.named_parameters()] if isinstance(image, ImageScratch) else []
    fresh += [f"text_model.{name}" for name, _ in words.named_parameters()] if isinstance(text, TextScratch) else []
    return _start(run, model, "dual", card, tokens, new=(*_JOINTS, *fresh))


def _made_image(wanted: ImageScratch) -> tuple[Any, ImageCard]:
    card = ImageCard(size=wanted.size, mean=HALF, std=HALF)
    if wanted.kind == "resnet":
        config = transformers.ResNetConfig(
            depths=list(wanted.depths), hidden_sizes=list(wanted.widths), embedding_size=min(64, wanted.widths[0])
        )
        config.hidden_size = wanted.widths[-1]  # what a dual encoder asks every image tower for
        return transformers.ResNetModel(config), card
    if wanted.size % wanted.patch or wanted.width % wanted.heads:
        message = f"size {wanted.size} in patches of {wanted.patch}, width {wanted.width} in {wanted.heads} heads"
        raise TrainingError(f"model.image: {message}; expected both to divide evenly")
    vit = transformers.CLIPVisionConfig(
        hidden_size=wanted.width, intermediate_size=4 * wanted.width, num_hidden_layers=wanted.layers,
        num_attention_heads=wanted.heads, image_size=wanted.size, patch_size=wanted.patch, hidden_act="gelu",
    )  # fmt: skip
    return transformers.CLIPVisionModel(vit), card


def _made_text(wanted: TextScratch) -> tuple[Any, TextTokenizer]:
    folder = locate(wanted.tokenizer)
    card = TextCard(context_length=wanted.context, padding="longest", trim_exact=True)
    tokens = load_tokenizer(
        folder, EncoderCard(name="new", modalities=("text",), width=1, activation="gelu", text=card)
    )
    config = transformers.BertConfig(
        vocab_size=len(tokens.backend), hidden_size=wanted.width, num_hidden_layers=wanted.layers,
        num_attention_heads=wanted.heads, intermediate_size=4 * wanted.width, max_position_embeddings=wanted.context,
        pad_token_id=tokens.padding_id,
    )  # fmt: skip
    return transformers.BertModel(config), tokens


def _image_tower(reference: str) -> tuple[Any, ImageCard]:
    folder = _sound(reference)
    model = _loaded(folder)
    if not hasattr(model.config, "hidden_size"):
        model.config.hidden_size = model.config.hidden_sizes[-1]
    return model, image_card(folder)


def _text_tower(reference: str) -> tuple[Any, TextTokenizer]:
    folder = _sound(reference)
    config = read_json(folder / "config.json")
    if (folder / "modules.json").is_file():
        card = derive_card(folder, config, "sentence", name=folder.name)
    else:
        text = TextCard(context_length=positions(config), padding="longest", trim_exact=True)
        card = EncoderCard(name=folder.name, modalities=("text",), width=1, activation="unknown", text=text)
    return _loaded(folder), load_tokenizer(folder, card)


def _sound(reference: str) -> Path:
    folder = locate(reference)
    weight_files(folder)
    if "auto_map" in read_json(folder / "config.json"):
        raise CheckpointError(f"{folder}: the checkpoint wants to run its own code (auto_map); that is never done")
    return folder


def _loaded(folder: Path) -> Any:
    model = transformers.AutoModel.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, dtype=torch.float32
    )
    if hasattr(model, "logit_scale"):
        raise TrainingError(f"{folder}: holds two towers; name it as model.start, or one tower alone here")
    return model


def _drop_patches(dual: Dual, share: float) -> None:
    vision = dual.model.vision_model
    embeddings = getattr(vision, "embeddings", None)
    kind = vision.config.model_type
    if embeddings is None or not hasattr(vision.config, "patch_size"):
        raise TrainingError(
            f"model.patch_dropout: an image tower of kind {kind!r} has no patches to leave out; expected a ViT"
        )
    drop_patches(embeddings, share, first=1 if kind in _CLASS_TOKEN else 0)


def _recompute(dual: Dual) -> None:
    for name in ("vision_model", "text_model"):
        tower = getattr(dual.model, name)
        # transformers renames this; both names do the same.
        enable: Callable[[], None] = (
            getattr(tower, "activation_checkpointing_enable", None) or tower.gradient_checkpointing_enable
        )
        try:
            enable()
        except ValueError as error:
            raise TrainingError(f"model.checkpointing: {name}: {error}") from None
