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
from moderation.errors import TrainingError

BATCH = 64
Advance = Callable[[int], None]
Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class Encodings:
    """float16 unit vectors [m, d] of what could be encoded, and which rows of the input those are, int64 [m]."""

    vectors: Vectors
    rows: NDArray[np.int64]
    total: int

    @property
    def left_out(self) -> int:
        """How many could not be encoded."""
        return self.total - len(self.rows)


def read(paths: Iterable[Path]) -> Iterator[bytes]:
    """Contents of files; of one that cannot be read no bytes, which no encoder takes for a picture."""
    for path in paths:
        try:
            yield path.read_bytes()
        except OSError:
            yield b""


def encode_pictures(encoder: Encoder, contents: Iterable[bytes], advance: Advance = lambda _: None) -> Encodings:
    """Vectors of pictures, in order; `contents` is read one batch ahead at most."""
    return _encode(contents, encoder.encode_images, advance)


def encode_texts(encoder: Encoder, texts: Sequence[str], advance: Advance = lambda _: None) -> Encodings:
    """Vectors of texts, in order; one beyond the encoder's context is left out."""
    return _encode(texts, encoder.encode_text, advance)


def every_text(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """Vectors [n, d] of texts that must all be read; raises TrainingError naming the first that is not."""
    encoded = encoder.encode_text(texts)
    for row, error in encoded.errors.items():
        raise TrainingError(f"text {texts[row]!r} cannot be encoded: {error}")
    return encoded.vectors


def _encode(contents: Iterable[Content], encode: Callable[[Sequence[Content]], Encoded], advance: Advance) -> Encodings:
    walk, vectors, rows, total = iter(contents), [], [], 0
    while batch := list(islice(walk, BATCH)):
        encoded = encode(batch)
        kept = [row for row in range(len(batch)) if row not in encoded.errors]
        vectors.append(encoded.vectors[kept])
        rows += [total + row for row in kept]
        total += len(batch)
        advance(len(batch))
    if not rows:
        raise TrainingError(
            f"none of {total} pictures or texts could be encoded; expected JPEG, PNG, WebP or GIF, or short text"
        )
    return Encodings(np.concatenate(vectors), np.array(rows, np.int64), total)
