"""WiSE-FT: weights between the start and what was learned, by a share that is given or by the one that validates best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from moderation.training.dual import Dual

SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the start


@dataclass(frozen=True, slots=True)
class Choice:
    """The share of the start that was chosen, and what each share measured."""

    keep: float
    tried: Mapping[float, float]


class Before:
    """The weights before training, to mix with those after. Source: Wortsman et al., WiSE-FT (2022)."""

    def __init__(self, dual: Dual) -> None:
        self._tensors = {name: one.detach().cpu().clone() for name, one in dual.merged().state_dict().items()}

    @torch.no_grad()
    def mixed(self, dual: Dual, keep: float) -> Dual:
        """A copy of `dual` without adapters, its weights the start's by the share `keep`."""
        made = dual.plain()
        for name, after in made.model.state_dict().items():
            if after.is_floating_point():  # a norm's count of batches stays as it is
                after.lerp_(self._tensors[name].to(after), keep)
        return made

    def best(self, dual: Dual, measure: Callable[[Dual], float]) -> Choice:
        """The share whose mixture measures highest; of equals the one with most of the start, so that nothing moves for nothing."""
        tried = {keep: measure(self.mixed(dual, keep)) for keep in SHARES}
        return Choice(max(SHARES, key=lambda keep: (tried[keep], keep)), tried)
