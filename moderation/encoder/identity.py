"""An encoder's identity: a hash over everything that changes its vectors, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moderation.encoder.card import EncoderCard
from moderation.encoder.preprocess import PIXELS_VERSIONS
from moderation.encoder.tokens import TOKENS_VERSION
from moderation.settings import PixelsWay

_IDENTITY_VERSION = "encoder-identity/1"
_LENGTH = 32

TOKENIZER_FILES = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
# What the libraries write into a config for their own bookkeeping.
_BOOKKEEPING = frozenset({"_name_or_path", "name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache"})


def identity(
    folder: Path, weights: Iterable[Path], config: Any, card: EncoderCard, *, pixels: PixelsWay = "exact"
) -> str:
    """The identity of a checkpoint: 32 hex digits. Reads every weight file once."""
    facts = {
        "version": [_IDENTITY_VERSION, PIXELS_VERSIONS[pixels if card.image else "exact"], TOKENS_VERSION],
        "weights": sorted(_digest(path) for path in weights),
        "tokenizer": {name: _digest(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()},
        "config": _without_bookkeeping(config),
        "card": _what_changes_vectors(card),
    }
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _what_changes_vectors(card: EncoderCard) -> Any:
    """Name, licence, languages, training data and metrics are for people; a new figure must not refuse old locks."""
    image = card.image.model_dump() if card.image else None
    text = card.text.model_dump(exclude={"languages"}) if card.text else None
    return {"width": card.width, "activation": card.activation, "image": image, "text": text}


def _without_bookkeeping(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_bookkeeping(one) for key, one in value.items() if key not in _BOOKKEEPING}
    return [_without_bookkeeping(one) for one in value] if isinstance(value, list) else value
