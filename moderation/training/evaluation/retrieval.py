"""Retrieval between pictures and their captions, both ways, a chunk of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.encoder.base import Vectors
from moderation.training.evaluation.ranking import Floats, Places, chunks, places, similarities, within
from moderation.training.evaluation.share import Share, share

KS = (1, 5, 10)
_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of queries with a right answer among the first k, by k; `chance` is what guessing gets."""

    at: Mapping[int, Share]
    chance: Mapping[int, float]
    candidates: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Recall of captions by picture and of pictures by caption."""

    image_to_text: Recall
    text_to_image: Recall


def retrieval(
    images: Vectors,
    captions: Vectors,
    owner: NDArray[np.int64],
    *,
    ks: Sequence[int] = KS,
    chunk: int = _CHUNK,
    advance: Callable[[int], None] = lambda _: None,
) -> Retrieval:
    """Recall of float16 unit vectors `images` [n, d] and `captions` [m, d], where caption j belongs to picture `owner`[j].

    Any caption of a picture is right for it; pictures without captions are candidates, never queries. At most `chunk` rows of
    cosines are held. In the intervals a picture and its captions are one thing.
    """
    numbers = np.arange(len(images))
    names = numbers.astype(str)
    asked = np.unique(owner)
    to_text = _found(images[asked], captions, owners=(asked, owner), chunk=chunk, advance=advance)
    to_image = _found(captions, images, owners=(owner, numbers), chunk=chunk, advance=advance)
    return Retrieval(
        _recall(to_text, ks, names[asked].tolist(), np.bincount(owner)[asked], len(captions)),
        _recall(to_image, ks, names[owner].tolist(), np.ones(len(owner), np.int64), len(images)),
    )


def _found(
    queries: Vectors,
    candidates: Vectors,
    *,
    owners: tuple[NDArray[np.int64], NDArray[np.int64]],
    chunk: int,
    advance: Callable[[int], None],
) -> Places:
    parts = []
    asked, offered = owners
    for rows in chunks(len(queries), chunk):
        right = asked[rows, None] == offered[None]
        parts.append(places(similarities(queries[rows], candidates), right))
        advance(rows.stop - rows.start)
    return Places(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("above", "level", "right")))


def _recall(found: Places, ks: Sequence[int], names: list[str], right: NDArray[np.int64], total: int) -> Recall:
    blind = Places(np.zeros_like(right), np.full_like(right, total), right)
    chance: dict[int, float] = {k: float(within(blind, k).mean()) for k in ks}
    values: dict[int, Floats] = {k: within(found, k) for k in ks}
    return Recall({k: share(one, names) for k, one in values.items()}, chance, total)
