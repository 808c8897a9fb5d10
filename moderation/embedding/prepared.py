"""Vectors that were made before, in the place of the embedder that would make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moderation.embedding.embedder import Embedded
from moderation.encoder.base import Encoder, Vectors
from moderation.errors import ItemError
from moderation.item import Modality, Part

Content = tuple[str, Modality, bytes]  # the encoder's name, and what its vector hangs on; the bytes are hashed once


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one part: its vector, float16 [d], and whether it was remembered; or why it has none. The seconds are its share of its batch's."""

    vector: Vectors | None
    error: ItemError | None = None
    hit: bool = False
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0


class UnpreparedError(Exception):
    """These parts were not prepared, for the encoder of this name."""

    def __init__(self, name: str, parts: Sequence[Part]) -> None:
        super().__init__(f"{len(parts)} parts for encoder {name!r}")
        self.name, self.parts = name, parts


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Gives what is known of parts under the name of their encoder."""

    name: str
    encoder: Encoder
    known: Mapping[Content, Outcome]

    def embed(self, parts: Sequence[Part]) -> Embedded:
        """The vectors of parts, in order. Raises UnpreparedError for those that were not prepared."""
        contents = [content_of(self.name, part) for part in parts]
        missing = [part for one, part in zip(contents, parts, strict=True) if one not in self.known]
        if missing:
            raise UnpreparedError(self.name, missing)
        outcomes = [self.known[one] for one in contents]
        nothing = np.zeros(self.encoder.card.width, np.float16)
        rows = [nothing if one.vector is None else one.vector for one in outcomes]
        vectors = np.concatenate([nothing[:0], *rows]).reshape(len(parts), len(nothing))
        once = [self.known[one] for one in dict.fromkeys(contents)]
        return Embedded(
            vectors,
            {row: one.error for row, one in enumerate(outcomes) if one.error},
            np.array([one.hit for one in outcomes], np.bool_),
            sum(one.decode_seconds for one in once),
            sum(one.encode_seconds for one in once),
        )


def content_of(encoder: str, part: Part) -> Content:
    """What tells a part's vector from others'."""
    return encoder, part.modality, part.content
