"""All that a run knows between two steps, on disk and back: weights, their average, the optimiser's moments, the step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from moderation.errors import TrainingError
from moderation.training import checkpoint
from moderation.training.config import PairRun, Run
from moderation.training.spread import is_number, placed, placed_all, spread, wholes
from moderation.training.task import Rank, Task
from moderation.training.tower import Average

FILE = "checkpoint.safetensors"


class State:
    """What changes from step to step. Random numbers are no part of it: each step seeds its own."""

    def __init__(self, run: Run, task: Task, rank: Rank) -> None:
        self.path = run.out / FILE
        self._rank, self.model = rank, task.model
        self._facts = {**run.facts(), **task.facts()}
        self.average = Average(task.model, run.optimiser.average)
        if isinstance(run, PairRun) and run.shard and rank.world > 1:
            spread(self.model, rank.device)
            spread(self.average.model, rank.device)
        self.optimiser = _optimiser(run, task)

    def save(self, step: int) -> None:
        """Write everything, all or nothing, on the first rank; where weights are spread, all have to call this together.

        Raises TrainingError; the checkpoint before then stays whole.
        """
        tensors = _named("model.", self.model.state_dict()) | _named("average.", self.average.model.state_dict())
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= _named(f"optimiser.{number}.", state)
        # Tied weights are one tensor, and a file holds each once.
        held = {name: one.cpu().clone() for name, one in wholes(tensors) if self._rank.number == 0}
        if self._rank.number == 0:
            checkpoint.save(self.path, held, {"step": step, "run": self._facts})

    def restore(self) -> int:
        """Read the checkpoint back and return its step. Raises TrainingError where it is of another run than this one."""
        tensors, facts = checkpoint.load(self.path)
        self._refuse_another(facts)

        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): tensor for key, tensor in tensors.items() if key.startswith(name)}

        try:
            for name, model in (("model.", self.model), ("average.", self.average.model)):
                model.load_state_dict(placed_all(part(name), model.state_dict()))
            self._restore_moments(part("optimiser."))
        except (RuntimeError, ValueError) as error:
            raise TrainingError(f"{self.path}: does not fit this run's model: {error}") from None
        return int(facts["step"])

    def _restore_moments(self, tensors: Mapping[str, Tensor]) -> None:
        whole = self.optimiser.state_dict()
        learned = [one for group in self.optimiser.param_groups for one in group["params"]]
        whole["state"] = {}
        for key, tensor in tensors.items():
            number, _, name = key.partition(".")
            # The fused kernel pairs elements by their place in memory, so moments must lie as their weights do.
            like = learned[int(number)] if tensor.ndim else tensor
            moment = torch.empty_like(like, dtype=tensor.dtype).copy_(placed(tensor, like))
            whole["state"].setdefault(int(number), {})[name] = moment
        self.optimiser.load_state_dict(whole)

    def _refuse_another(self, facts: Mapping[str, Any]) -> None:
        before, now = _flat(facts.get("run", {})), _flat(self._facts)
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if changed:
            told = "; ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)
            raise TrainingError(f"{self.path}: of another run: {told}; a run goes on as it began, or begins elsewhere")


def _optimiser(run: Run, task: Task) -> torch.optim.AdamW:
    """AdamW without decay on norms, biases and the scale."""
    groups: list[dict[str, Any]] = []
    for group in task.groups():
        learned = [one for one in group.parameters if one.requires_grad]
        decay = run.optimiser.weight_decay
        groups.append({"params": [one for one in learned if one.ndim > 1], "lr": group.rate, "weight_decay": decay})
        # Single numbers by themselves: they stay whole where weights are spread, and the fused kernel takes one kind at a time.
        for number in (False, True):
            same = [one for one in learned if one.ndim < 2 and is_number(one) is number]
            groups.append({"params": same, "lr": group.rate, "weight_decay": 0.0})
    for one in groups:
        one["full_rate"] = one["lr"]
    groups = [one for one in groups if one["params"]]
    if not groups:
        raise TrainingError("nothing learns: every part of the model is locked or frozen")
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, fused=True)


def _named(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    if not isinstance(value, dict):
        return {name: value}
    return {
        key: one for inner, deeper in value.items() for key, one in _flat(deeper, f"{name}.{inner}".strip(".")).items()
    }


def parameters(model: nn.Module) -> list[nn.Parameter]:
    """Those that learn."""
    return [one for one in model.parameters() if one.requires_grad]
