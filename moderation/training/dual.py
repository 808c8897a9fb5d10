"""Both towers as one module that learns: pictures and texts to unit vectors, by the very adapters that serve them later."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from moderation.encoder.card import EncoderCard, TextCard
from moderation.encoder.derive import Family
from moderation.encoder.tokens import length_bucket
from moderation.encoder.towers import (
    DualImageTower,
    FeatureImageTower,
    FeatureTextTower,
    ImageTower,
    PooledTextTower,
    TextTower,
)
from moderation.training.model_config import Lora
from moderation.training.spread import is_spread
from moderation.training.tower import FOLLOWS

Side = Literal["image", "text"]
SIDES: tuple[Side, ...] = ("image", "text")
TOWERS = {"image": "vision_model", "text": "text_model"}


class Dual(nn.Module):
    """transformers' model of a CLIP-family checkpoint with its learned scale, and a bias for the sigmoid loss."""

    def __init__(self, model: Any, family: Family, card: EncoderCard, *, largest_scale: float, bias: float) -> None:
        super().__init__()
        self.model, self.family, self.card = model, family, card
        self.largest_scale = largest_scale
        self.bound_scale()
        self.bias = nn.Parameter(torch.tensor(bias))
        self.locked: frozenset[Side] = frozenset()

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors float32 [n, d] of normalised pictures [n, 3, s, s] and of padded tokens int64 [n, t] with their mask."""
        return self.images(pixels), self.texts(ids, mask)

    def images(self, pixels: Tensor) -> Tensor:
        """Unit vectors float32 [n, d] of normalised pictures [n, 3, s, s]."""
        return self._encode("image", lambda: self._image_tower()(pixels))

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors float32 [n, d] of padded tokens int64 [n, t] with their mask."""
        return self._encode("text", lambda: self._read(ids, mask))

    def _read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Captions of about the same length together, so that a batch's longest does not make all of them long."""
        tower = self._text_tower()
        # Compiled code wants one shape, and ranks that gather layers together want the same number of calls.
        if torch.compiler.is_compiling() or is_spread(self) or self.card.text is None:
            return tower(ids, mask)
        groups = by_length(mask, self.card.text)
        made = torch.cat([tower(ids[rows, :length], mask[rows, :length]) for length, rows in groups])
        return made[torch.cat([rows for _, rows in groups]).argsort()]

    def scale(self) -> Tensor:
        """The learned scale."""
        return self.model.logit_scale.exp().reshape(())  # type: ignore[no-any-return]

    @torch.no_grad()
    def bound_scale(self) -> None:
        """Keep the scale from 1 to `largest_scale`: the weight itself, since a bound on its use would leave it no gradient to come back."""
        self.model.logit_scale.clamp_(0.0, math.log(self.largest_scale))

    def side(self, name: Side) -> list[nn.Module]:
        """A tower and, where there is one, its projection."""
        names = (TOWERS[name], "visual_projection" if name == "image" else "text_projection")
        return [getattr(self.model, one) for one in names if hasattr(self.model, one)]

    def lock(self, sides: Iterable[Side]) -> None:
        """Leave towers as they are. Their projections still learn where they are new (`start` says so by unlocking them)."""
        self.locked = frozenset(sides)
        for side in self.locked:
            for module in self.side(side):
                module.requires_grad_(False)

    def adapt(self, lora: Lora) -> None:
        """Put low-rank adapters into every linear layer of towers that are not locked; of these, only projections learn beside."""
        from peft import LoraConfig, inject_adapter_in_model

        free = [side for side in SIDES if side not in self.locked]
        joints = [one for side in free for module in self.side(side)[1:] for one in module.parameters()]
        learned = [one for one in (*joints, self.model.logit_scale) if one.requires_grad]
        towers = {side: self.side(side)[0] for side in free}
        names = [
            f"{TOWERS[side]}.{name}"
            for side, tower in towers.items()
            for name, module in tower.named_modules()
            if isinstance(module, nn.Linear) and module.weight.requires_grad
        ]
        config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=names)
        inject_adapter_in_model(config, self.model)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        for parameter in learned:
            parameter.requires_grad_(True)

    def merged(self) -> Any:
        """Transformers' model as it stands, with adapters folded into the weights; what is exported."""
        model = copy.deepcopy(self.model)
        # peft's layers, told by name: where there are none, half a second goes by if it is imported to ask.
        adapted = [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]
        for name, module in adapted:
            module.merge()
            place, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(place), attribute, module.get_base_layer())
        if hasattr(model, "logit_bias"):  # SigLIP's place for it
            with torch.no_grad():
                model.logit_bias.fill_(self.bias)
        return model

    def plain(self) -> Dual:
        """A copy in evaluation mode, with adapters folded into the weights."""
        bias = float(self.bias.detach())
        return Dual(self.merged(), self.family, self.card, largest_scale=self.largest_scale, bias=bias).eval()

    def _encode(self, side: Side, run: Any) -> Tensor:
        # A locked tower whose projection learns too would still need the graph above it; without one nothing does.
        learns = any(parameter.requires_grad for module in self.side(side) for parameter in module.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            vectors = run()
        return functional.normalize(vectors.float(), dim=1)

    def _image_tower(self) -> ImageTower:
        return DualImageTower(self.model) if self.family == "dual" else FeatureImageTower(self.model)

    def _text_tower(self) -> TextTower:
        if self.family != "dual":
            return FeatureTextTower(self.model)
        pooling = self.card.text.pooling if self.card.text else "pooler"
        return PooledTextTower(self.model.text_model, pooling, self.model.text_projection)


def by_length(mask: Tensor, card: TextCard) -> list[tuple[int, Tensor]]:
    """Row numbers of a batch's mask [n, t] by the length that they are padded to, shortest first.

    Fewer than an eighth of the batch join the next longer, so that no tower runs for a handful.
    """
    lengths = [length_bucket(length, card) for length in mask.sum(1).tolist()]
    groups: list[tuple[int, Tensor]] = []
    waiting: list[int] = []
    for length in sorted(set(lengths)):
        waiting += [row for row, one in enumerate(lengths) if one == length]
        if len(waiting) * 8 >= len(lengths) or length == max(lengths):
            groups.append((length, torch.tensor(waiting, device=mask.device)))
            waiting = []
    return groups


def drop_patches(embeddings: nn.Module, share: float, *, first: int) -> None:
    """Leave a random `share` of the patches out of each training picture, keeping the `first` tokens (the class token).

    Which ones comes from torch's global generator. Source: Li et al., Scaling Language-Image Pre-training via Masking (2022).
    """

    def drop(module: nn.Module, _given: Any, tokens: Tensor) -> Tensor:
        if not module.training:
            return tokens
        patches = tokens.shape[1] - first
        kept = max(1, round(patches * (1.0 - share)))
        order = torch.rand(len(tokens), patches, device=tokens.device).argsort(dim=1)[:, :kept] + first
        rows = torch.arange(len(tokens), device=tokens.device)[:, None]
        return torch.cat([tokens[:, :first], tokens[rows, order]], dim=1)

    setattr(embeddings, FOLLOWS, True)
    embeddings.register_forward_hook(drop)


def set_scale(model: Any, scale: float) -> None:
    """Give a new model its first scale."""
    with torch.no_grad():
        model.logit_scale.fill_(math.log(scale))
