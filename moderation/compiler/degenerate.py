"""Content that shows nothing: blank, noisy and corrupt pictures and texts, or mere words, which no policy may ever match."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw, ImageFont

from moderation.item import Modality, Part

SIDE = 64
KINDS = ("blank", "noise", "corrupt", "words")
_WORDS = ("the of and to in", "open from nine to five", "page 3 of 12")  # about nothing that a policy is about


def degenerate(kind: str, modality: Modality) -> Iterator[Part]:
    """The parts of one kind in one modality, always the same pixels or text, each with a name that says what it is."""
    yield from _MAKERS[kind, modality]()


def _blank_pictures() -> Iterator[Part]:
    for name, level in (("white", 255), ("grey", 128), ("black", 0)):
        yield Part.image(png(bytes([level]) * (3 * SIDE * SIDE)), name=name)


def _noisy_pictures() -> Iterator[Part]:
    for seed in range(3):
        yield Part.image(png(random.Random(seed).randbytes(3 * SIDE * SIDE)), name=f"seed-{seed}")


def _corrupt_pictures() -> Iterator[Part]:
    whole = png(random.Random(0).randbytes(3 * SIDE * SIDE))
    yield Part.image(b"", name="empty")
    yield Part.image(whole[: len(whole) // 2], name="truncated")
    yield Part.image(random.Random(1).randbytes(512), name="no-picture")


def _blank_texts() -> Iterator[Part]:
    yield Part.text(" ", name="space")
    yield Part.text("\n\n", name="newlines")


def _noisy_texts() -> Iterator[Part]:
    letters = "abcdefghijklmnopqrstuvwxyz "
    for seed in range(3):
        yield Part.text("".join(random.Random(seed).choices(letters, k=24)), name=f"seed-{seed}")


def _corrupt_texts() -> Iterator[Part]:
    yield Part(Modality.TEXT, b"\xff\xfe\x80", name="not-utf-8")


def _written_pictures() -> Iterator[Part]:
    for number, words in enumerate(_WORDS):
        page = Image.new("RGB", (3 * SIDE, SIDE), "white")
        ImageDraw.Draw(page).text((8, SIDE // 3), words, fill="black", font=ImageFont.load_default(size=16))
        buffer = io.BytesIO()
        page.save(buffer, "PNG")
        yield Part.image(buffer.getvalue(), name=f"line-{number}")


def _written_texts() -> Iterator[Part]:
    for number, words in enumerate(_WORDS):
        yield Part.text(words, name=f"line-{number}")


def png(pixels: bytes, *, side: int = SIDE) -> bytes:
    """A PNG file of side x side pixels, 3 bytes each, by rows."""
    rows = b"".join(b"\0" + pixels[start : start + 3 * side] for start in range(0, len(pixels), 3 * side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


_MAKERS: dict[tuple[str, Modality], Callable[[], Iterator[Part]]] = {
    ("blank", Modality.IMAGE): _blank_pictures,
    ("noise", Modality.IMAGE): _noisy_pictures,
    ("corrupt", Modality.IMAGE): _corrupt_pictures,
    ("blank", Modality.TEXT): _blank_texts,
    ("noise", Modality.TEXT): _noisy_texts,
    ("corrupt", Modality.TEXT): _corrupt_texts,
    ("words", Modality.IMAGE): _written_pictures,
    ("words", Modality.TEXT): _written_texts,
}
