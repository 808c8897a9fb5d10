"""Weights, gradients and moments spread over the ranks (FSDP2), for towers that no one device holds with all of these."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def spread(model: nn.Module, device: torch.device) -> None:
    """Leave each rank its part of every weight; layers are gathered one at a time when they run.

    Single numbers (the scale, the bias) stay whole on every rank, and their gradients are nobody's but the caller's to average.
    """
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    numbers = {one for one in model.parameters() if is_number(one)}
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = {id(layer): layer for stack in reversed(stacks) for layer in stack}  # inner ones first
    for layer in layers.values():
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh, ignored_params=numbers)
    fully_shard(model, mesh=mesh, ignored_params=numbers)


def is_number(tensor: Tensor) -> bool:
    """Whether it stays whole: CLIP's scale has no dimension, SigLIP's has one of one."""
    return tensor.numel() == 1


def is_spread(model: nn.Module) -> bool:
    """Whether `spread` was here."""
    return isinstance(model, FSDPModule)


def own(tensor: Tensor) -> Tensor:
    """This rank's part; all of what is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def wholes(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of all ranks, one after another, on every rank; all of them have to go through together."""
    for name, one in tensors.items():
        yield name, one.full_tensor() if isinstance(one, DTensor) else one


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor that each rank has, spread as `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    there = tensor.to(like.device)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)


def placed_all(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As `placed`, of each; a name that `like` lacks stays, to be complained of where it is loaded."""
    return {name: placed(tensor, like.get(name, tensor)) for name, tensor in tensors.items()}


def clip_gradients(parameters: Sequence[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients to a norm of at most `largest` over all ranks' parts, and return the norm that they had."""
    if not any(isinstance(one, DTensor) for one in parameters):
        return nn.utils.clip_grad_norm_(parameters, largest)
    gradients = [one.grad for one in parameters if one.grad is not None]
    parts = [own(one) for one in gradients if isinstance(one, DTensor)]
    numbers = [one for one in gradients if not isinstance(one, DTensor)]
    square = torch.stack([one.square().sum() for one in parts]).sum()
    distributed.all_reduce(square)
    norm = (square + sum(one.square().sum() for one in numbers)).sqrt()
    share = (largest / (norm + 1e-6)).clamp(max=1.0)
    for one in (*parts, *numbers):
        one.mul_(share)
    return norm
