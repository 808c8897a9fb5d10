"""What a training run does in each of its steps, whatever is trained: the loop knows nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Rank:
    """One of `world` processes that train together, on its own device."""

    number: int
    world: int
    device: torch.device


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that learn at one rate."""

    parameters: Sequence[nn.Parameter]
    rate: float


class Task(Protocol):
    """One kind of training: a module, its batches, and the loss of a batch."""

    @property
    def model(self) -> nn.Module:
        """What learns, on the device it learns on."""
        ...

    def groups(self) -> list[Group]:
        """Every parameter that learns, once, with its rate."""
        ...

    def batches(self, start: int, stop: int) -> Iterator[Any]:
        """This rank's part of the batches of steps from `start` up to `stop`, each a pure function of the seed and the step."""
        ...

    def parts(self, batch: Any) -> Sequence[Sequence[Tensor]]:
        """The model's arguments, in the portions that it sees one after another; one where gradients are not cached."""
        ...

    def loss(self, features: Sequence[Tensor], batch: Any) -> Tensor:
        """The batch's loss, a scalar, of what the model made of all its parts."""
        ...

    def told(self, batch: Any) -> Mapping[str, float]:
        """What is worth watching: the learned `scale`, `size` in pixels, the share of time that was `waited` for data."""
        ...

    def tensors(self, batch: Any) -> Mapping[str, Tensor]:
        """A batch as plain tensors, to look at when its loss is no number."""
        ...

    def valid(self, average: nn.Module, step: int) -> Mapping[str, float]:
        """What is measured of the averaged weights after `step` steps; empty where nothing is due. No step may depend on it."""
        ...

    def settle(self) -> None:
        """What has to hold of the weights after every step."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What may not change of the data between a run and its resumption, as JSON values."""
        ...

    def records(self, batch: Any) -> Sequence[str]:
        """What a batch was read from, to find it again when its loss is no number."""
        ...

    def remarks(self) -> Sequence[str]:
        """What a person should know of the data, as far as it is known by now: a sentence each."""
        ...

    def close(self) -> None:
        """End what the task runs in the background."""
        ...
