"""Genuine CLIP vectors as an encoder: 2,148 object names of the shared data, every other text an error of its row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.errors import ItemError
from moderation.item import content_digest
from moderation.policy.manifest import TargetRow
from moderation.policy.schema import Policy


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


def make_policy(**changes: object) -> Policy:
    """A policy about weapons over the table; `violating` and `contrast` are phrases."""
    violating = changes.pop("violating", ("pistol", "rifle", "sword"))
    contrast = changes.pop("contrast", ("water gun", "hammer", "camera"))
    values = {
        "schema": "policy/v1",
        "id": "weapon",
        "title": "Weapon",
        "version": "1.0.0",
        "owner": "safety",
        "review_by": dt.date(2027, 3, 1),
        "severity": "high",
        "scope": {"modalities": ("image",)},
        "definition": {"violates": ({"id": "v1", "text": "A weapon is shown."},)},
        "concepts": {
            "violating": ({"id": "arms", "phrases": violating},),
            "contrast": ({"id": "other", "phrases": contrast},) if contrast else (),
        },
        "prevalence": {"low": 0.05, "high": 0.1, "source": "review", "n": 500},
        "actions": (
            {"action": "remove", "guarantee": {"metric": "precision", "at_least": 0.8, "confidence": 0.9}},
            {"action": "review", "guarantee": {"metric": "recall", "at_least": 0.8, "confidence": 0.9}},
        ),
        "on_error": "review",
        "tests": (Path("tests/weapon.yaml"),),
    }
    return Policy.model_validate({**values, **changes})


def row(text: str, *, target: bool, cluster: str | None = None) -> TargetRow:
    return TargetRow(None, text, content_digest(text.encode()), target, cluster or text)
