"""Pictures and captions into vectors, a batch at a time, what cannot be read left out and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from moderation.encoder.base import Encoded, Encoder, Vectors
from moderation.errors import ItemError, TrainingError
from moderation.training.pairs import Pairs

BATCH = 64
Advance = Callable[[int], None]
Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class Encodings:
    """float16 unit vectors [m, d] of what could be encoded, and which rows of the input those are, int64 [m]."""

    vectors: Vectors
    rows: NDArray[np.int64]
    total: int


@dataclass(frozen=True, slots=True)
class Captioned:
    """Pictures that could be read: vectors [n, d] and captions of each; `left_out` pairs could not be."""

    images: Vectors
    captions: Sequence[Sequence[str]]
    left_out: int


def read(paths: Iterable[Path]) -> Iterator[bytes]:
    """Contents of files; of one that cannot be read no bytes, which no encoder takes for a picture."""
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError:
            yield b""


def encode_pictures(encoder: Encoder, contents: Iterable[bytes], advance: Advance = lambda _: None) -> Encodings:
    """Vectors of pictures, in order; `contents` is read one batch ahead at most."""
    return _encode(encoder, contents, encoder.encode_images, advance)


def encode_texts(encoder: Encoder, texts: Sequence[str], advance: Advance = lambda _: None) -> Encodings:
    """Vectors of texts, in order; one beyond the encoder's context is left out."""
    return _encode(encoder, texts, encoder.encode_text, advance)


def encode_captioned(encoder: Encoder, pairs: Pairs, advance: Advance = lambda _: None) -> Captioned:
    """Pictures of pairs, with their captions; captions are read as text later."""
    captions: list[Sequence[str]] = []

    def contents() -> Iterator[bytes]:
        for row in range(len(pairs)):
            try:
                pair = pairs.read(row)
            except ItemError:
                captions.append(())
                yield b""
                continue
            captions.append(pair.captions)
            yield pair.image

    found = encode_pictures(encoder, contents(), advance)
    kept = [captions[row] for row in found.rows]
    return Captioned(found.vectors, kept, found.total - len(kept) + pairs.broken.total)


def every_text(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """Vectors [n, d] of texts that must all be read; raises TrainingError naming the first that is not."""
    encoded = encoder.encode_text(texts)
    for row, error in encoded.errors.items():
        raise TrainingError(f"text {texts[row]!r} cannot be encoded: {error}")
    return encoded.vectors


def _encode(
    encoder: Encoder, contents: Iterable[Content], encode: Callable[[Sequence[Content]], Encoded], advance: Advance
) -> Encodings:
    walk, total = iter(contents), 0
    vectors, rows = [np.zeros((0, encoder.card.width), np.float16)], [np.zeros(0, np.int64)]
    while batch := list(islice(walk, BATCH)):
        encoded = encode(batch)
        kept = np.array([row for row in range(len(batch)) if row not in encoded.errors], np.int64)
        vectors.append(encoded.vectors[kept])
        rows.append(total + kept)
        total += len(batch)
        advance(len(batch))
    return Encodings(np.concatenate(vectors), np.concatenate(rows), total)
