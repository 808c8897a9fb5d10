"""The task of the bundled encoder: an image tower learns a fixed text space from drawings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from moderation.training.augment import Augment
from moderation.training.config import DrawingRun
from moderation.training.data import Order, Pictures, choose_captions, open_pictures
from moderation.training.loss import contrastive, targets
from moderation.training.task import Group, Rank
from moderation.training.tower import ImageTower, load_tower


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's pictures [n, 3, size, size], their texts' vectors [n, d], and which text belongs to which picture [n, n]."""

    pixels: Tensor
    texts: Tensor
    wanted: Tensor
    size: int


class Drawings:
    """A run's pictures, order and tower. Raises TrainingError for more than one rank: soft targets are of the whole batch."""

    def __init__(self, run: DrawingRun, rank: Rank) -> None:
        self._run, self._device = run, rank.device
        self._pictures = open_pictures(run.data.folder)
        width = self._pictures.texts.shape[1]
        self.model: ImageTower = load_tower(
            run.model.tower, width=width, scale=run.loss.scale, frozen=run.model.frozen
        ).to(rank.device)
        self._order = Order(self._pictures.weights, batch=run.batch, seed=run.seed)

    def groups(self) -> list[Group]:
        """The tower learns at its own rate."""
        rates = self._run.optimiser
        joints = (*self.model.projection.parameters(), self.model.log_scale)
        return [Group(tuple(self.model.tower.parameters()), rates.tower_rate), Group(joints, rates.rate)]

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """What each step trains on."""
        return (batch(self._pictures, self._order, self._run, step, self._device) for step in range(start, stop))

    def parts(self, batch: Batch) -> Sequence[Sequence[Tensor]]:
        """All pictures at once."""
        return [(batch.pixels,)]

    def loss(self, features: Sequence[Tensor], batch: Batch) -> Tensor:
        """In-batch softmax both ways against soft targets."""
        return contrastive(features[0], batch.texts, batch.wanted, self.model.log_scale.exp())

    def told(self, batch: Batch) -> Mapping[str, float]:
        """The learned scale and the stage's size."""
        return {"scale": self.model.log_scale.exp().item(), "size": batch.size}

    def tensors(self, batch: Batch) -> Mapping[str, Tensor]:
        """The batch's own tensors."""
        return {"pixels": batch.pixels, "texts": batch.texts, "wanted": batch.wanted}

    def valid(self, average: nn.Module, step: int) -> Mapping[str, float]:  # noqa: ARG002 - as every task
        """Nothing: a recipe measures its drawings when they are learned."""
        return {}

    @torch.no_grad()
    def settle(self) -> None:
        """The scale stays within its bound."""
        self.model.log_scale.clamp_(max=math.log(self._run.loss.largest_scale))

    def facts(self) -> Mapping[str, Any]:
        """How many drawings there are: the order hangs on it."""
        return {"drawings": len(self._pictures)}

    def records(self, batch: Batch) -> Sequence[str]:  # noqa: ARG002 - as every task
        """Nothing: the step alone says which drawings they are."""
        return ()

    def remarks(self) -> Sequence[str]:
        """Nothing: a recipe prepared its drawings, and complained where they were not sound."""
        return ()

    def close(self) -> None:
        """Nothing runs in the background."""


def batch(pictures: Pictures, order: Order, run: DrawingRun, step: int, device: torch.device) -> Batch:
    """What `step` trains on: a pure function of the seed and the step."""
    rows = order.rows(step)
    rng = np.random.default_rng([run.seed, 1, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    texts = pictures.texts[torch.from_numpy(choose_captions(pictures, rows, rng, first=run.data.first_caption))]
    objects = torch.from_numpy(pictures.objects[rows])
    wanted = targets(objects, texts, neighbours=run.loss.neighbours, temperature=run.loss.temperature)
    size, strength = run.stage(step)
    photos = None
    if pictures.backgrounds is not None and run.data.photos:
        chosen = np.sort(rng.integers(len(pictures.backgrounds), size=run.data.photos))
        photos = torch.from_numpy(pictures.backgrounds[chosen]).permute(0, 3, 1, 2).float().div_(255.0)
    drawings = torch.from_numpy(pictures.pixels[pictures.picture[rows]])
    pixels = normalise(Augment(generator, strength)(drawings, size, photos))
    return Batch(pixels.to(device), texts.to(device), wanted.to(device), size)


def normalise(pixels: Tensor) -> Tensor:
    """0..1 to -1..1, the range the towers here are fed with, in the memory order that convolutions like."""
    return (pixels * 2.0 - 1.0).contiguous(memory_format=torch.channels_last)
