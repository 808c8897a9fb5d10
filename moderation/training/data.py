"""Pictures with captions as arrays on disk, and the order they are trained in: a pure function of seed, epoch and step."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moderation.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Pictures:
    """A folder that a recipe prepared.

    pictures.npy: uint8 [n, s, s, 4], RGBA, not premultiplied.   rows.jsonl: one {"picture", "object", "weight", "captions"} each, captions
    being rows of texts.npy with the first the most usual.   texts.npy: unit vectors [m, d].   backgrounds.npy (optional): uint8 [k, s, s, 3].
    """

    pixels: np.ndarray
    picture: np.ndarray  # int64 [rows]
    objects: np.ndarray  # int64 [rows], equal where the same object is drawn
    weights: np.ndarray  # float64 [rows], how often a row comes in one epoch
    captions: Sequence[Sequence[int]]
    texts: Tensor  # float32 [m, d]
    backgrounds: np.ndarray | None

    def __len__(self) -> int:
        return len(self.picture)


def open_pictures(folder: Path) -> Pictures:
    """Map the prepared `folder`; raises TrainingError naming what is missing or does not fit."""
    for name in ("pictures.npy", "rows.jsonl", "texts.npy"):
        if not (folder / name).is_file():
            raise TrainingError(
                f"{folder}: no {name}; expected a folder that a recipe prepared; the bundled encoder's, in the repository: "
                "python examples/bundled_encoder/recipe.py --data DATA --work WORK"
            )
    pixels = np.load(folder / "pictures.npy", mmap_mode="r")
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 4:
        raise TrainingError(f"{folder}/pictures.npy: {pixels.dtype} {pixels.shape}; expected uint8 [n, s, s, 4]")
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    texts = torch.from_numpy(np.load(folder / "texts.npy").astype(np.float32))
    numbers = {name: i for i, name in enumerate(dict.fromkeys(row["object"] for row in rows))}
    backgrounds = folder / "backgrounds.npy"
    found = Pictures(
        pixels=pixels,
        picture=np.array([row["picture"] for row in rows], dtype=np.int64),
        objects=np.array([numbers[row["object"]] for row in rows], dtype=np.int64),
        weights=np.array([row["weight"] for row in rows], dtype=np.float64),
        captions=[row["captions"] for row in rows],
        texts=texts,
        backgrounds=np.load(backgrounds, mmap_mode="r") if backgrounds.is_file() else None,
    )
    _check(found, folder)
    return found


def _check(found: Pictures, folder: Path) -> None:
    if not len(found):
        raise TrainingError(f"{folder}/rows.jsonl: no rows")
    if found.picture.max() >= len(found.pixels) or found.picture.min() < 0:
        raise TrainingError(f"{folder}/rows.jsonl: picture {found.picture.max()}; pictures.npy has {len(found.pixels)}")
    largest = max((max(captions, default=-1) for captions in found.captions), default=-1)
    if largest >= len(found.texts) or any(not captions for captions in found.captions):
        raise TrainingError(
            f"{folder}/rows.jsonl: caption {largest} or a row without captions; texts.npy has {len(found.texts)}"
        )


def epoch_order(weights: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Row numbers of one epoch, shuffled, always floor(sum of weights) of them: a row of weight 1.5 comes once or twice.

    The sum is exact, so that it is the same whatever the order.
    """
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(len(weights))
    reached = np.cumsum(weights[rows])
    points = (
        np.arange(int(math.fsum(weights) + 1e-9)) + rng.random()
    )  # one point per unit of weight: as even as counts can be
    order = rows[np.searchsorted(reached, points.clip(max=reached[-1] - 1e-9), side="right")]
    rng.shuffle(order)
    return order


class Order:
    """The rows of every step, by arithmetic alone: nothing has to be replayed on resume. Safe from several threads."""

    def __init__(self, weights: np.ndarray, *, batch: int, seed: int) -> None:
        self.batch = batch
        # Two, because a loader that reads ahead asks for the end of one epoch and the start of the next by turns.
        self._epoch = lru_cache(maxsize=2)(lambda epoch: epoch_order(weights, seed=seed, epoch=epoch))
        self.steps_per_epoch = len(self._epoch(0)) // batch
        if self.steps_per_epoch == 0:
            raise TrainingError(f"a batch of {batch} is more than one epoch, which is {weights.sum():.0f} pictures")

    def rows(self, step: int) -> np.ndarray:
        """Row numbers int64 [batch] of `step`, counted from zero over the whole run."""
        epoch, place = divmod(step, self.steps_per_epoch)
        rows: np.ndarray = self._epoch(epoch)[place * self.batch : (place + 1) * self.batch]
        return rows


def choose_captions(pictures: Pictures, rows: np.ndarray, rng: np.random.Generator, *, first: float) -> np.ndarray:
    """One caption per row, int64 [n]: the first with probability `first`, else any of the row's others."""
    draws, places = rng.random(len(rows)), rng.random(len(rows))
    chosen = np.empty(len(rows), dtype=np.int64)
    for i, row in enumerate(rows):
        captions = pictures.captions[row]
        others = len(captions) - 1
        chosen[i] = captions[0] if others == 0 or draws[i] < first else captions[1 + int(places[i] * others)]
    return chosen
