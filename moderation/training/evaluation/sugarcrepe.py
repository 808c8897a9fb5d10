"""SugarCrepe (Hsieh et al. 2023): a caption of a COCO picture against one made false by a small change.

Its accuracy needs the pictures. Without them only this is told: how far apart an encoder puts the two captions, where level
captions mean that no picture could tell them apart. That is no accuracy, and no text-only guess at one is made.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moderation.errors import DataError, Problem
from moderation.training.evaluation.probes import ProbeResult
from moderation.training.evaluation.ranking import Floats

_KEYS = ("filename", "caption", "negative_caption")


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture's file name, the caption that is true of it, and the one that is not."""

    filename: str
    caption: str
    negative: str


@dataclass(frozen=True, slots=True)
class Distance:
    """How an encoder sees the captions of a kind's pairs, without pictures: mean cosine, and share that it cannot tell apart."""

    cosine: float
    level: float
    pairs: int


@dataclass(frozen=True, slots=True)
class SugarCrepe:
    """By kind: distance of the captions, and accuracy on the pairs whose picture was there."""

    distance: Mapping[str, Distance]
    accuracy: Mapping[str, ProbeResult]


def read_pairs(path: Path) -> Mapping[str, tuple[Pair, ...]]:
    """Pairs by kind from one JSON file, gzipped or not: {kind: {number: {filename, caption, negative_caption}}}.

    Raises DataError that lists every entry with something missing.
    """
    try:
        content = path.read_bytes()
        found: Any = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError([Problem(path, 0, 0, "D001", f"cannot be read as SugarCrepe's JSON: {error}")]) from None
    if not isinstance(found, dict) or not found or not all(isinstance(one, dict) for one in found.values()):
        raise DataError(
            [Problem(path, 0, 0, "D003", "expected {kind: {number: {filename, caption, negative_caption}}}")]
        )
    wrong = [f"{kind}/{key}" for kind, rows in found.items() for key, row in rows.items() if not _is_pair(row)]
    if wrong:
        raise DataError(
            Problem(path, 0, 0, "D003", f"{where}: expected the strings {', '.join(_KEYS)}") for where in wrong
        )
    return {kind: tuple(Pair(*(row[key] for key in _KEYS)) for row in rows.values()) for kind, rows in found.items()}


def distance(captions: Floats, negatives: Floats) -> Distance:
    """Distance of unit vectors [n, d] and [n, d], float16, row by row."""
    first, second = captions.astype(np.float64), negatives.astype(np.float64)
    cosines = (first * second).sum(axis=1)
    return Distance(float(cosines.mean()), float((captions == negatives).all(axis=1).mean()), len(captions))


def _is_pair(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(key), str) for key in _KEYS)
