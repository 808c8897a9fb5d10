"""Gradient caching: one contrastive step over more pairs than the towers' activations have memory for.

Every part of the batch is encoded without a graph, the loss gives the gradient of all features at once, and every part is
encoded again with a graph to carry its share of that gradient into the towers: twice the forward work for the memory of one
part. Gao et al., arXiv 2101.06983.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor

from moderation.errors import TrainingError

Part = TypeVar("Part")
# What two runs over the same numbers may differ by, relative: bfloat16 kernels chosen with and without a graph stay below
# it, another dropout mask does not.
REPEATS = 0.05


def cached_backward(
    encode: Callable[[Part], tuple[Tensor, Tensor]],
    parts: Sequence[Part],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """The loss of all parts as one batch, detached; gradients are added to every parameter as `backward` on the whole would.

    `encode` gives a part's image and text features, [n, d] each; `loss` takes those of all parts in order, [N, d], and may have
    parameters of its own, such as the learned scale. torch's random states, on the CPU and on CUDA, are the same in both passes,
    so that dropout repeats, and are left as one pass leaves them. Layers that keep statistics of a batch (batch norm in training)
    see a part at a time, twice: with them the result is not that of the whole batch.

    Over ranks use the bare module and `average_gradients` afterwards: the scale gets its gradient outside DDP's forward pass.
    Raises TrainingError where there are no parts, or where `encode` does not repeat itself, as with randomness that is not torch's.
    """
    if not parts:
        raise TrainingError("gradient caching: no parts of a batch; expected at least one")
    states, cached = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_RandomState.now())
            cached.append(encode(part))
    # Older torch remembers under autocast the weights cast here, without a graph, and would train nothing with them.
    torch.clear_autocast_cache()
    value, gradients = _feature_gradients(cached, loss)
    after = _RandomState.now()
    for part, state, once, gradient in zip(parts, states, cached, gradients, strict=True):
        state.restore()
        again = encode(part)
        _check_repeats(once, again)
        _carry(again, gradient)
    after.restore()
    return value


def _feature_gradients(
    parts: list[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """The loss of all parts' features, and the gradient of each part's."""
    images, texts = (torch.cat(side).requires_grad_() for side in zip(*parts, strict=True))
    value = loss(images, texts)
    value.backward()  # type: ignore[no-untyped-call]
    sides = zip((images, texts), zip(*parts, strict=True), strict=True)
    split = [torch.split(_gradient(whole), [len(part) for part in side]) for whole, side in sides]
    return value.detach(), list(zip(*split, strict=True))


def _gradient(features: Tensor) -> Tensor:
    """Zero where the loss does not look at these features at all."""
    return torch.zeros_like(features) if features.grad is None else features.grad


def _check_repeats(once: tuple[Tensor, Tensor], again: tuple[Tensor, Tensor]) -> None:
    for name, first, second in zip(("image", "text"), once, again, strict=True):
        moved = torch.linalg.vector_norm(second.detach() - first) / torch.linalg.vector_norm(first)
        if moved > REPEATS:
            found = f"{name} features moved by {100 * moved.item():.0f} % when the part was encoded again"
            raise TrainingError(f"gradient caching: {found}; expected the same, with no randomness but torch's own")


def _carry(features: tuple[Tensor, Tensor], gradient: tuple[Tensor, ...]) -> None:
    """Into the towers that learn; the features of a locked one end here."""
    learning = [at for at, side in enumerate(features) if side.requires_grad]
    torch.autograd.backward([features[at] for at in learning], [gradient[at] for at in learning])


@dataclass(frozen=True, slots=True)
class _RandomState:
    """Of torch's own generators; CUDA's only where CUDA is in use, for asking would start it."""

    cpu: Tensor
    cuda: list[Tensor]

    @classmethod
    def now(cls) -> Self:
        in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state_all() if in_use else [])

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
