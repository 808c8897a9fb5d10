"""What load tests send: made pictures and texts, none like another."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moderation.stream.batch import Headers

SIZE = 160  # pixels of a made picture's side
WORDS = [
    "the", "a", "cheap", "best", "new", "old", "red", "blue", "phone", "chair", "book",
    "cat", "dog", "house", "for", "sale", "please", "call", "me", "today", "not", "never",
]  # fmt: skip


def contents(
    modalities: list[str], items: int, *, repeat: float, chance: random.Random
) -> Iterator[tuple[bytes, Headers]]:
    """Made content, of each modality in turn; so many repeat one that came before."""
    made: list[tuple[bytes, Headers]] = []
    for number in range(items):
        if not made or chance.random() >= repeat:
            kind = modalities[number % len(modalities)]
            made.append(_recorded(kind, chance))
            yield made[-1]
        else:
            yield chance.choice(made)


def content(kind: str, chance: random.Random) -> bytes:
    """A picture (PNG) or a text."""
    return _picture(chance) if kind == "image" else _text(chance)


def _recorded(kind: str, chance: random.Random) -> tuple[bytes, Headers]:
    media = b"image/png" if kind == "image" else b"text/plain"
    return content(kind, chance), (("content-type", media),)


def _text(chance: random.Random) -> bytes:
    words = " ".join(chance.choices(WORDS, k=chance.randint(4, 40)))
    return f"{words} {chance.getrandbits(40)}".encode()


def _picture(chance: random.Random) -> bytes:
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (SIZE, SIZE), tuple(chance.choices(range(256), k=3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(chance.randint(2, 6)):
        left, top = chance.randrange(SIZE - 8), chance.randrange(SIZE - 8)
        box = (left, top, chance.randrange(left + 4, SIZE), chance.randrange(top + 4, SIZE))
        draw.ellipse(box, fill=tuple(chance.choices(range(256), k=3)))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
