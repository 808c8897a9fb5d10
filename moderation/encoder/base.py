"""What an encoder is: a card, a fingerprint, and batches of content into float16 vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from moderation.encoder.card import EncoderCard
from moderation.errors import ItemError

Vectors = NDArray[np.float16]
ENCODER_ERROR = "encoder_error"  # the reason of a row that failed by the encoder's fault, not its content's


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which encoder made a vector.

    `identity` hashes weights, configuration, preprocessing and tokenizer; `numeric` names backend, device kind and
    dtype. Vectors of one identity and another numeric class agree only up to a measured ε.
    """

    identity: str
    numeric: str

    def __str__(self) -> str:
        return f"{self.identity}/{self.numeric}"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch's vectors, float16 [n, d], L2-normalised; `errors` says which rows could not be encoded and why.

    A row with an error is zero and must not be read. `decode_seconds` is the time the tower stood still for pictures.
    """

    vectors: Vectors
    errors: Mapping[int, ItemError]
    decode_seconds: float = 0.0


class Encoder(Protocol):
    """A model that makes vectors. Batches in, batches out, same length and order; a batch may be empty."""

    @property
    def card(self) -> EncoderCard:
        """What the encoder is and how content must be prepared for it."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """Which encoder this is, for caches, locks and decisions."""
        ...

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        """Vectors of pictures given as the bytes of their files."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        """Vectors of texts; a text longer than the card's context is an error of its row, never cut silently."""
        ...

    def count_tokens(self, text: str) -> int:
        """How many tokens the encoder reads for a text, special tokens included."""
        ...


@runtime_checkable
class PreparesImages(Protocol):
    """An Encoder that can begin with pictures before their batch has its turn; others need not, and pictures come to them as ever."""

    def prepare_images(self, images: Sequence[bytes]) -> None:
        """Begin to decode pictures that `encode_images` will be asked for soon; returns at once, and may do nothing."""
        ...
