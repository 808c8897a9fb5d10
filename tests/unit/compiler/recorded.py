"""Genuine CLIP vectors as an encoder: 2,148 object names of the shared data, every other text an error of its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.errors import ItemError


class TableEncoder:
    """An encoder of texts that looks vectors up in a table; pictures are the names of rows, as bytes."""

    def __init__(self, table: Mapping[str, np.ndarray], *, modalities: Sequence[str] = ("image", "text")) -> None:
        self.table = table
        width = len(next(iter(table.values())))
        card = {"schema": "encoder-card/v1", "name": "table", "modalities": modalities, "width": width}
        self.card = EncoderCard.model_validate({**card, "activation": "gelu"})
        self.fingerprint = Fingerprint("ab" * 8, "table")

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return self.encode_text([image.decode() for image in images])

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        vectors = np.zeros((len(texts), self.card.width), np.float16)
        errors = {}
        for row, text in enumerate(texts):
            if text in self.table:
                vectors[row] = self.table[text]
            else:
                errors[row] = ItemError("unsupported_input", f"{text!r} is not in the table")
        return Encoded(vectors, errors)

    def count_tokens(self, text: str) -> int:
        return len(text.split())


def embedder(table: Mapping[str, np.ndarray], **options: Sequence[str]) -> Embedder:
    return Embedder(TableEncoder(table, **options), MemoryCache(50_000_000))


def clip_names(data: Path) -> dict[str, np.ndarray]:
    """Name (lower case, one vector each) to its unit vector of CLIP ViT-B/32, float16."""
    stored = np.load(data / "clip_space" / "b32" / "text_concepts_b32.npz")
    vectors = stored["embeddings"].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return {
        str(name).lower().replace("_", " "): one.astype(np.float16)
        for name, one in zip(stored["names"], vectors, strict=True)
    }
