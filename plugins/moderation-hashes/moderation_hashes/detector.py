"""The detector: a picture's PDQ hash, looked up in the lists of one index."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moderation import Abstention, DetectionBatch, Modality, Score
from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.item import Part
from moderation.settings import ImageLimits
from moderation_hashes.bands import MATCH_DISTANCE
from moderation_hashes.index import Index
from moderation_hashes.pdq import Hash, hash_picture

LEAST_QUALITY = 50  # what has less is a plain or smooth picture whose hash says little; Meta recommends to discard it
LIMITS = ImageLimits()


class Hashes:
    """Scores pictures under one label for each list: how near the list's nearest hash is."""

    id = "hashes"
    modalities = frozenset({Modality.IMAGE})
    needs_embeddings = False

    def __init__(self, path: Path) -> None:
        """Raises PluginError where `path` is no index."""
        self._index = Index(path)
        self.labels = tuple(one.name for one in self._index.lists)
        self.revision = self._index.digest[:12]
        self._revisions = {one.name: one.revision for one in self._index.lists}

    def verify(self) -> None:
        """Raises PluginError where the index is damaged. It reads the file once, which also brings it into memory."""
        self._index.verify()

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...] | Abstention]:
        """One score a list, or an abstention from what is no picture within the limits."""
        return [self._judge(part) for part in batch.parts]

    def _judge(self, part: Part) -> tuple[Score, ...] | Abstention:
        try:
            hashed = hash_file(part.content)
        except ItemError as error:
            return Abstention(error.reason, cause=error.cause)
        if hashed.quality < LEAST_QUALITY:
            why = f"not matched: quality {hashed.quality} is below {LEAST_QUALITY}"
            return tuple(Score(label, 0.0, concept=why) for label in self.labels)
        found = self._index.nearest(hashed.bits)
        return tuple(self._score(label, found.get(label)) for label in self.labels)

    def _score(self, label: str, distance: int | None) -> Score:
        if distance is None:
            return Score(label, 0.0)
        return Score(label, score_of(distance), concept=f"{label} {self._revisions[label]} at distance {distance}")


def hash_file(content: bytes) -> Hash:
    """The hash of a picture's file. Raises ItemError where it is no picture, or beyond the limits that moderation has by default."""
    return hash_picture(np.asarray(decode(content, LIMITS)))


def score_of(distance: int) -> float:
    """1 for equal hashes, less by 1/64 for each bit that differs, above one half as far as hashes match, and 0 beyond: 1 - d / 64."""
    return 1 - distance / (2 * (MATCH_DISTANCE + 1)) if distance <= MATCH_DISTANCE else 0.0
