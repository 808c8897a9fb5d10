"""The image side that is trained: a tower in Hugging Face's layout, a projection, a learned scale, and their running average."""

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from moderation.errors import TrainingError

# Short runs: statistics must follow the weights within some fifty steps; what comes from large-scale training follows in thousands.
NORM_MOMENTUM = 0.02
FOLLOWS = "follows_its_tower"  # of a module that does something in training only, whether or not its own weights learn


class ImageTower(nn.Module):
    """Pictures to unit vectors of the text space."""

    def __init__(self, tower: nn.Module, *, width: int, scale: float) -> None:
        super().__init__()
        self.tower = tower
        pooled_width: int = getattr(tower.config, "hidden_size")  # noqa: B009 - torch types every attribute as a tensor
        self.projection = nn.Linear(pooled_width, width, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, pixels: Tensor) -> Tensor:
        """Unit vectors float32 [n, width] of normalised pictures [n, 3, s, s]."""
        pooled = self.tower(pixel_values=pixels).pooler_output
        return functional.normalize(self.projection(pooled).float(), dim=1)


def load_tower(folder: Path, *, width: int, scale: float, frozen: Sequence[str]) -> ImageTower:
    """The tower at `folder` with a fresh projection to `width`; parts whose name starts with one of `frozen` do not learn."""
    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder}: no config.json; expected an image tower in Hugging Face's layout")
    model = ImageTower(AutoModel.from_pretrained(folder, dtype=torch.float32), width=width, scale=scale)
    model.to(memory_format=torch.channels_last)
    for prefix in frozen:
        parts = [module for name, module in model.tower.named_modules() if name == prefix]
        if not parts:
            raise TrainingError(f"{folder}: nothing is called {prefix!r}; model.frozen names parts of the tower")
        parts[0].requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORM_MOMENTUM
    return model


def learning_mode(model: nn.Module) -> None:
    """Training mode, but frozen parts keep their statistics too; what has `FOLLOWS` set learns as the part around it does."""
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters) and not getattr(module, FOLLOWS, False):
            module.eval()


class Average:
    """An exponential average of weights and statistics, which is what is evaluated and shipped."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards `model`; early on the average is short, so that it does not remember the start."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, theirs in zip(_floats(self.model), _floats(model), strict=True):
            mine.lerp_(theirs, 1 - decay)


def _floats(model: nn.Module) -> Iterator[Tensor]:
    return (tensor for tensor in model.state_dict().values() if tensor.is_floating_point())


@torch.no_grad()
def settle_norms(model: ImageTower, batches: Iterable[Tensor]) -> None:
    """Give averaged weights batch-norm statistics of their own: the mean over `batches` of pixels, not the average of old ones."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all that follows
    model.train()
    for pixels in batches:
        model(pixels)
    model.eval()
