"""A checkpoint into an encoder: found, checked against its card, loaded from safetensors only, and fingerprinted."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from moderation.encoder import lean
from moderation.encoder.base import Encoder, Fingerprint
from moderation.encoder.bert import Bert
from moderation.encoder.card import CARD_FILE, EncoderCard
from moderation.encoder.clip import NORM_TOLERANCE, ImageSide, TextSide, TorchEncoder
from moderation.encoder.derive import (
    Family,
    activation,
    derive_card,
    family_of,
    positions,
    projection_width,
    read_json,
    vocabulary,
)
from moderation.encoder.device import find_device
from moderation.encoder.identity import identity
from moderation.encoder.lane import lane_on
from moderation.encoder.locate import locate, weight_files
from moderation.encoder.mobilenet import MobileNet
from moderation.encoder.tokens import TextTokenizer
from moderation.encoder.towers import (
    DualImageTower,
    FeatureImageTower,
    FeatureTextTower,
    ImageTower,
    LeanImageTower,
    LeanTextTower,
    MobileNetTower,
    PooledTextTower,
    TextTower,
)
from moderation.encoder.weights import UnusualError, Weights
from moderation.encoder.wordpiece import WordPieces
from moderation.errors import CheckpointError, EncoderError
from moderation.settings import ImageLimits, PixelsWay

Dtype = Literal["float32", "bfloat16"]

_DTYPES: Mapping[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Weights below which two threads in a tower wait for each other longer than they compute: the
# bundled image tower has two million, a ViT-B/32 88 million.
_SMALL = 10_000_000
# Towers without position embeddings take pictures of any size, so their config's size binds nobody.
_ANY_SIZE = frozenset({"convnext", "convnextv2", "resnet", "regnet", "mobilenet_v2", "efficientnet"})


@dataclass(frozen=True, slots=True)
class Described:
    """What a checkpoint is, checked against its card, without a model of it in memory; the `config` has transformers' defaults in it where they are read."""

    folder: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]
    family: Family
    card: EncoderCard
    identity: str


class _Towers(NamedTuple):
    """What encodes, and whether pictures are encoded by a small tower."""

    image: ImageTower | None
    text: TextTower | None
    small: bool


def load(
    reference: str,
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    pixels: PixelsWay = "exact",
    limits: ImageLimits | None = None,
) -> Encoder:
    """The encoder that a reference means: "bundled", a local folder, "package:NAME", or a hub id with @REVISION.

    `device` is "auto" (CUDA where present), "cpu", "cuda" or "cuda:N"; `pixels` how pictures are prepared (`preprocess`), which is part
    of its identity. Weights come from safetensors only and no code
    of the checkpoint runs. Raises CheckpointError where the folder is incomplete, unsafe, or does not fit its card.
    """
    place, kind = find_device(device), _DTYPES.get(dtype)
    if kind is None:
        raise EncoderError(f"dtype {dtype!r}; expected one of {', '.join(_DTYPES)}")
    found = describe(reference, pixels=pixels)
    card = found.card
    mark = Fingerprint(found.identity, f"torch-{place.type}-{dtype}")
    towers = _ours(found, place, kind) or _theirs(found, place, kind)
    encoder = TorchEncoder(
        card=card,
        fingerprint=mark,
        device=place,
        image=ImageSide(card.image, towers.image) if card.image and towers.image else None,
        text=TextSide(tokenizer(found), towers.text) if card.text and towers.text else None,
        limits=limits or ImageLimits(),
        pixels=pixels,
        lane=lane_on(place, small=towers.small),
    )
    _try(encoder, found.folder)
    return encoder


def describe(reference: str, *, pixels: PixelsWay = "exact") -> Described:
    """What the checkpoint that a reference means is: for training, and for another backend, which has its weights in a form of its own.

    Reads every weight file once, for the identity. Raises CheckpointError as `load` does, but where weights do not fit the model.
    """
    folder = locate(reference)
    weights = weight_files(folder)
    config = read_json(folder / "config.json")
    if "auto_map" in config:
        raise CheckpointError(f"{folder}: the checkpoint wants to run its own code (auto_map); that is never done")
    family = family_of(config, folder)
    full = _full(folder, config, family)
    card = _card(folder, full, family, name=_name(reference, folder))
    mark = identity(folder, weights, config, card, pixels=pixels)
    return Described(folder, weights, full, family, card, mark)


def _name(reference: str, folder: Path) -> str:
    """What a checkpoint without a card is called: its folder's name, or the reference where that is no path."""
    return folder.resolve().name if Path(reference).expanduser().is_dir() else reference.removeprefix("package:")


def _card(folder: Path, config: dict[str, Any], family: Family, *, name: str) -> EncoderCard:
    path = folder / CARD_FILE
    if not path.is_file():
        card = derive_card(folder, config, family, name=name)
    else:
        try:
            card = EncoderCard.model_validate(read_json(path))
        except ValidationError as error:
            details = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise CheckpointError(f"{path}: {details}") from None
    _check(card, config, family, folder)
    return card


def _full(folder: Path, config: dict[str, Any], family: Family) -> dict[str, Any]:
    """The config with transformers' defaults, where its file leaves out any that is read here."""
    if family == "dual" and isinstance(config.get("projection_dim"), int):
        vision, text = config.get("vision_config"), config.get("text_config")
        if isinstance(vision, dict) and isinstance(text, dict) and MobileNet.is_whole(vision) and Bert.is_whole(text):
            return config
    from moderation.encoder.generic import with_defaults

    return with_defaults(folder, config)


def _check(card: EncoderCard, config: dict[str, Any], family: Family, folder: Path) -> None:
    """Refuses a card that says otherwise than the config, naming both values."""
    pairs: list[tuple[str, Any, Any]] = [
        ("modalities", ("text",) if family == "sentence" else ("image", "text"), card.modalities),
        ("width", projection_width(config, family), card.width),
        ("activation", activation(config), card.activation),
    ]
    vision = config.get("vision_config", {})
    if card.image and "image_size" in vision and vision.get("model_type") not in _ANY_SIZE:
        pairs.append(("image.size", vision["image_size"], card.image.size))
    if card.text:
        longest, context = positions(config), card.text.context_length
        bound = family in ("clip", "siglip")
        pairs.append(("text.context_length", longest if bound else min(longest, context), context))
    wrong = [
        f"{name} is {said!r} on the card but {found!r} in the config" for name, found, said in pairs if said != found
    ]
    missing = [name for name in card.modalities if getattr(card, name) is None]
    wrong += [f"modality {name!r} is on the card without its section" for name in missing]
    if wrong:
        raise CheckpointError(f"{folder}: the card does not fit the checkpoint: {'; '.join(wrong)}")


def model_of(found: Described) -> Any:
    """Transformers' own model of it in evaluation mode, without gradients. Raises CheckpointError where the weights do not fit it."""
    from moderation.encoder.generic import load_model

    return load_model(found.folder, found.family, found.card)


def _ours(found: Described, device: torch.device, dtype: torch.dtype) -> _Towers | None:
    """Towers of ours with the weights as the files hold them, which need none of transformers' models; None where they do not fit."""
    with suppress(UnusualError):
        if _is_lean(found):
            return _clip(Weights.read(found.weights, torch.float32, device), found, dtype)
        vision, text = (found.config.get(f"{kind}_config", {}) for kind in ("vision", "text"))
        if found.family == "dual" and MobileNet.fits(vision) and Bert.fits(text):
            weights, width = Weights.read(found.weights, dtype, device), found.config["projection_dim"]
            image = MobileNetTower(
                MobileNet.of(weights.under("vision_model"), vision),
                weights.take("visual_projection.weight", width, vision["hidden_size"]),
            )
            pooling = _pooling(found.card)
            bert = Bert.of(weights.under("text_model"), text, pools=pooling == "pooler")
            projection = weights.take("text_projection.weight", width, text["hidden_size"])
            words = PooledTextTower(bert, pooling, partial(functional.linear, weight=projection))
            return _Towers(image, words, _is_small(weights))
    return None


def _theirs(found: Described, device: torch.device, dtype: torch.dtype) -> _Towers:
    """Towers with the weights as transformers' own model of the checkpoint has them. Raises CheckpointError."""
    model, pooling = model_of(found), _pooling(found.card)
    if _is_lean(found):
        return _clip(Weights.of(model.to(device)), found, dtype)
    small, model = _is_small(Weights.of(model)), model.to(device, dtype)
    if found.family == "sentence":
        return _Towers(None, PooledTextTower(model, pooling), small)
    if found.family == "dual":
        text = PooledTextTower(model.text_model, pooling, model.text_projection)
        return _Towers(DualImageTower(model), text, small)
    return _Towers(FeatureImageTower(model), FeatureTextTower(model), small)


def _clip(weights: Weights, found: Described, dtype: torch.dtype) -> _Towers:
    image, text = LeanImageTower.of(weights, found.config, dtype), LeanTextTower.of(weights, found.config, dtype)
    return _Towers(image, text, _is_small(weights))


def _is_lean(found: Described) -> bool:
    towers = (found.config.get(f"{kind}_config", {}) for kind in ("vision", "text"))
    return found.family == "clip" and all(one.get("hidden_act") in lean.ACTIVATIONS for one in towers)


def _pooling(card: EncoderCard) -> str:
    return card.text.pooling if card.text else "pooler"


def _is_small(weights: Weights) -> bool:
    """Whether a checkpoint's image tower is small. Told by its weights, not by a measurement: the choice moves bits, and is the same in every process."""
    return 0 < weights.count("vision_model") < _SMALL


@torch.inference_mode()
def _try(encoder: TorchEncoder, folder: Path) -> None:
    """Encodes one picture and one text, since a config may have numbers with which a tower loads but does not run."""
    batches: list[tuple[str, ImageSide | TextSide, list[Tensor]]] = []
    if encoder.image:
        size = encoder.image.card.size
        batches.append(("image", encoder.image, [torch.full((1, size, size, 3), 128, dtype=torch.uint8)]))
    if encoder.text:
        ids = torch.tensor([encoder.text.tokenizer.tokens("a")])
        batches.append(("text", encoder.text, [ids, torch.ones_like(ids)]))
    for name, side, batch in batches:
        try:
            norm = side(*(one.to(encoder.device) for one in batch)).float().norm().item()
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise CheckpointError(f"{folder}: the {name} tower does not run: {error}") from None
        if not abs(norm - 1) < NORM_TOLERANCE:  # so that NaN is, too
            raise CheckpointError(f"{folder}: the {name} tower gives a vector of norm {norm}; expected 1")


def tokenizer(found: Described) -> TextTokenizer:
    """The tokenizer of a checkpoint, with the rules of its card. Raises CheckpointError, too where it has ids that the text tower does not know.

    A GPU that is asked for such a row of a tower's table computes no more in this process.
    """
    if found.card.text and (ours := WordPieces.read(found.folder)):
        made = TextTokenizer(ours, found.card.text)
    else:
        from moderation.encoder.generic import load_tokenizer

        made = load_tokenizer(found.folder, found.card)
    known = vocabulary(found.config)
    if made.vocabulary > known:
        wrong = f"the tokenizer has ids up to {made.vocabulary - 1}, the text tower only up to {known - 1}"
        raise CheckpointError(f"{found.folder}: {wrong} (vocab_size)")
    return made
