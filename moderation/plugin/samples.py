"""What plugins are shown to see what they do: content on which they break, and vectors that are made up."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np

from moderation.encoder.base import Vectors
from moderation.item import Modality, Part

WIDTH = 512  # of made vectors, where nobody says how wide an encoder's are
# Texts and files on which detectors break: empty, endless, of no language, cut off, and not what they seem.
HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "a" * 100_000,
    "\u202e\u200b\ufeff",
    "\U0001f3f4\u200d\u2620\ufe0f" * 50,
    "%s{}\\N",
    "<b>",
)
HOSTILE_FILES = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"not a picture", bytes(10_000))


def hostile_parts(modalities: frozenset[Modality]) -> list[Part]:
    """Hostile content as parts of these modalities."""
    texts = [Part.text(one) for one in HOSTILE_TEXTS] if Modality.TEXT in modalities else []
    return texts + [Part(one, file) for one in sorted(modalities - {Modality.TEXT}) for file in HOSTILE_FILES]


def made_vectors(parts: Sequence[Part], width: int) -> Vectors:
    """Vectors that follow from the content and from nothing else, float16 [n, width], L2-normalised."""
    vectors = np.zeros((len(parts), width), dtype=np.float16)
    for row, part in enumerate(parts):
        drawn = np.random.default_rng(int(part.digest[:16], 16)).normal(size=width)
        vectors[row] = (drawn / np.linalg.norm(drawn)).astype(np.float16)
    return vectors


def made_pictures(count: int) -> list[bytes]:
    """Small pictures of one colour each, as PNG files."""
    from PIL import Image  # a worker that is shown no such picture does without

    pictures = []
    for number in range(count):
        file = BytesIO()
        Image.new("RGB", (32, 32), (number * 37 % 256, 90, 160)).save(file, "PNG")
        pictures.append(file.getvalue())
    return pictures
