"""A stand-in encoder that understands words, and data about flyers for it: enough to compile and certify in a blink."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.errors import ItemError
from tests.unit.cli.texts import POLICY, TESTS

WIDTH = 32
VIOLATING = ("cheap", "discount", "pills", "tablets")
BENIGN = ("hello", "good", "morning", "friend")
FILLER = ("today", "see", "you", "soon", "town", "market", "street", "again", "maybe", "later")


class WordEncoder:
    """A text lies where its words lie; pictures are texts that begin with `picture`, all others cannot be decoded."""

    def __init__(self) -> None:
        self.card = EncoderCard.model_validate(
            {
                "schema": "encoder-card/v1", "name": "words", "modalities": ("image", "text"), "width": WIDTH,
                "activation": "gelu",
                "text": {"context_length": 77, "padding": "longest", "trim_exact": True, "languages": ("en",)},
            }
        )  # fmt: skip
        self.fingerprint = Fingerprint("0123456789abcdef", "words")

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        texts = [image.decode("latin-1") for image in images]
        encoded = self.encode_text([text.removeprefix("picture") for text in texts])
        unreadable = {row for row, text in enumerate(texts) if not text.startswith("picture")}
        return Encoded(encoded.vectors, {row: ItemError("unsupported_input", "not a picture") for row in unreadable})

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        vectors = np.array([_vector(text) for text in texts]).reshape(-1, WIDTH)
        return Encoded(vectors.astype(np.float16), {})

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def _vector(text: str) -> np.ndarray:
    total = sum((_word(word) for word in text.split()), start=0.2 * _word("<empty>"))
    return total / np.linalg.norm(total)


@cache
def _word(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=WIDTH)


def write_project(folder: Path, *, violating: int = 80, benign: int = 600) -> Path:
    """A policy with tests, targets and a background, all about texts; the path of the policy."""
    (folder / "tests").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "flyers.yaml").write_text(POLICY)
    (folder / "tests" / "flyers.yaml").write_text(TESTS)
    # Too few to fit on: compiling takes a blink, and what it does with more is the compiler's own business.
    write_rows(folder / "data" / "fit.jsonl", "fit", 4, 6)
    write_rows(folder / "data" / "certify.jsonl", "certify", violating, benign)
    write_rows(folder / "data" / "background.jsonl", "background", 0, 200)
    return folder / "flyers.yaml"


def write_rows(path: Path, split: str, violating: int, benign: int) -> None:
    rng = np.random.default_rng([len(split), violating, benign])
    rows = []
    for number in range(violating + benign):
        target = number < violating
        own = rng.choice(VIOLATING if target else BENIGN, size=3)
        other = rng.choice(FILLER, size=2)
        text = " ".join([*own, *other, f"{split}{number}"])
        rows.append(json.dumps({"text": text, "target": target, "cluster": f"{split}-{number}", "licence": "CC0-1.0"}))
    path.write_text("\n".join(rows) + "\n")
