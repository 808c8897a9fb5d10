"""What the ranks of one training run share: whose rows are whose in the whole batch, gathered rows, summed tensors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, distributed

Group = distributed.ProcessGroup


def world_of(ranks: Group | None) -> int:
    """How many ranks count together: those of the group, by default all; one where torch.distributed is not initialised."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size(ranks) if running else 1


def stacked(tensor: Tensor, ranks: Group | None) -> Tensor:
    """Every rank's tensor, of one shape, in the order of the ranks [world, ...]; carries no gradient."""
    if world_of(ranks) == 1:
        return tensor[None]
    parts = [torch.empty_like(tensor) for _ in range(world_of(ranks))]
    distributed.all_gather(parts, tensor, group=ranks)
    return torch.stack(parts)


def average_gradients(parameters: Iterable[torch.nn.Parameter], ranks: Group | None = None) -> None:
    """Replaces every parameter's gradient by its mean over the ranks, as DDP does, after a backward pass that DDP does not watch.

    A gradient that is missing here counts as zero, since another rank may have one.
    """
    world = world_of(ranks)
    for parameter in parameters:
        if world > 1 and parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad, group=ranks)
            parameter.grad /= world


@dataclass(frozen=True, slots=True)
class Share:
    """This rank's part of a batch of `total` rows that `world` ranks hold together: `count` rows from `first` on."""

    count: int
    first: int
    total: int
    world: int
    ranks: Group | None

    @classmethod
    def of(cls, counts: list[int], ranks: Group | None) -> Self:
        """From the number of rows that each rank holds."""
        rank = distributed.get_rank(ranks) if len(counts) > 1 else 0
        return cls(counts[rank], sum(counts[:rank]), sum(counts), len(counts), ranks)

    def gathered(self, rows: Tensor) -> Tensor:
        """Everyone's rows in the order of the ranks, [total, ...]; carries no gradient."""
        if self.world == 1:
            return rows
        # A sum over zeros instead of an all-gather, since gloo gathers equal counts only and a last batch may be uneven.
        whole = rows.new_zeros(self.total, *rows.shape[1:])
        self.own(whole).copy_(rows)
        return self.summed(whole)

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over the ranks, in place."""
        if self.world > 1:
            distributed.all_reduce(tensor, group=self.ranks)
        return tensor

    def own(self, whole: Tensor) -> Tensor:
        """This rank's rows of what has one for each row of the whole batch, as a view."""
        return whole[self.first : self.first + self.count]
