"""Towers: prepared pixels or tokens into unnormalised vectors, one small adapter for each family of checkpoints.

CLIP runs the lean transformer, and the bundled encoder's kind of dual encoder a MobileNet and a BERT of ours; all others run transformers' own modules.
A tower is equal to itself alone: `torch.compile` in torch 2.9 hashes one before its fields are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from moderation.encoder import lean
from moderation.encoder.mobilenet import MobileNet
from moderation.encoder.weights import Weights


class ImageTower(Protocol):
    """Normalised pixels, float32 [n, 3, size, size], into vectors [n, d]."""

    def __call__(self, pixels: Tensor, /) -> Tensor:
        """The vectors, in the tower's dtype."""
        ...


class TextTower(Protocol):
    """Padded token ids and their mask, int64 [n, tokens], into vectors [n, d]."""

    def __call__(self, ids: Tensor, mask: Tensor, /) -> Tensor:
        """The vectors, in the tower's dtype."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LeanImageTower:
    """CLIP's ViT; the patch embedding is one matrix product."""

    patch: int
    patch_weight: Tensor
    class_token: Tensor
    positions: Tensor
    before: lean.Norm
    transformer: lean.Transformer
    after: lean.Norm
    projection: Tensor

    @classmethod
    def of(cls, weights: Weights, config: Mapping[str, Any], dtype: torch.dtype) -> LeanImageTower:
        """From the float32 weights and the config of transformers' CLIPModel. Raises UnusualError."""
        vision, own = config["vision_config"], weights.under("vision_model")
        patch, width = vision["patch_size"], vision["hidden_size"]
        embeddings, patches = own.under("embeddings"), (vision["image_size"] // patch) ** 2
        positions = embeddings.take("position_embedding.weight", patches + 1, width)
        patch_weight = embeddings.take("patch_embedding.weight", width, vision["num_channels"], patch, patch)
        return cls(
            patch=patch,
            patch_weight=lean.cast(patch_weight.flatten(1).t(), dtype),
            class_token=lean.cast(embeddings.take("class_embedding", width) + positions[0], dtype),
            positions=lean.cast(positions[1:], dtype),
            before=lean.norm(own.under("pre_layrnorm"), vision, dtype),
            transformer=lean.build(own.under("encoder"), vision, dtype=dtype, causal=False),
            after=lean.norm(own.under("post_layernorm"), vision, dtype),
            projection=lean.cast(weights.take("visual_projection.weight", config["projection_dim"], width).t(), dtype),
        )

    def __call__(self, pixels: Tensor, /) -> Tensor:
        n, channels, size, _ = pixels.shape
        grid = size // self.patch
        patches = pixels.to(self.patch_weight.dtype).view(n, channels, grid, self.patch, grid, self.patch)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, -1) @ self.patch_weight
        x = torch.cat([self.class_token.expand(n, 1, -1), patches.add_(self.positions)], dim=1)
        return self.after(self.transformer(self.before(x))[:, 0]) @ self.projection


@dataclass(frozen=True, slots=True, eq=False)
class LeanTextTower:
    """CLIP's causal text transformer, pooled at the first end token; it never sees padding, so it needs no mask."""

    end_id: int
    tokens: Tensor
    positions: Tensor
    transformer: lean.Transformer
    after: lean.Norm
    projection: Tensor

    @classmethod
    def of(cls, weights: Weights, config: Mapping[str, Any], dtype: torch.dtype) -> LeanTextTower:
        """From the float32 weights and the config of transformers' CLIPModel. Raises UnusualError."""
        text, own = config["text_config"], weights.under("text_model")
        embeddings, width, longest = own.under("embeddings"), text["hidden_size"], text["max_position_embeddings"]
        return cls(
            end_id=text["eos_token_id"],
            tokens=lean.cast(embeddings.take("token_embedding.weight", text["vocab_size"], width), dtype),
            positions=lean.cast(embeddings.take("position_embedding.weight", longest, width), dtype),
            transformer=lean.build(own.under("encoder"), text, dtype=dtype, causal=True),
            after=lean.norm(own.under("final_layer_norm"), text, dtype),
            projection=lean.cast(weights.take("text_projection.weight", config["projection_dim"], width).t(), dtype),
        )

    def __call__(self, ids: Tensor, mask: Tensor, /) -> Tensor:  # noqa: ARG002  causal: nothing looks at padding
        x = self.transformer(self.tokens[ids] + self.positions[: ids.shape[1]])
        # Configurations from before transformers 4.31 say 2, and then the largest id of a row is its end token.
        ends = ids.argmax(1) if self.end_id == 2 else (ids == self.end_id).int().argmax(1)
        return self.after(x[torch.arange(len(x), device=x.device), ends]) @ self.projection


@dataclass(frozen=True, slots=True, eq=False)
class FeatureImageTower:
    """Any model with `get_image_features`: SigLIP, and CLIP with an activation the lean form does not know."""

    model: Any

    def __call__(self, pixels: Tensor, /) -> Tensor:
        return _pooled(self.model.get_image_features(pixel_values=pixels.to(self.model.dtype)))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTextTower:
    """Any model with `get_text_features` that needs no mask: SigLIP was trained to read its padding, CLIP's is causal.

    Without a mask attention runs its fast kernels.
    """

    model: Any

    def __call__(self, ids: Tensor, mask: Tensor, /) -> Tensor:  # noqa: ARG002
        return _pooled(self.model.get_text_features(input_ids=ids))


@dataclass(frozen=True, slots=True, eq=False)
class MobileNetTower:
    """The image tower of a dual encoder whose features a MobileNet makes."""

    features: MobileNet
    projection: Tensor

    def __call__(self, pixels: Tensor, /) -> Tensor:
        return functional.linear(self.features(pixels.to(self.projection.dtype)), self.projection)


@dataclass(frozen=True, slots=True, eq=False)
class DualImageTower:
    """The image tower of a vision-text dual encoder; ResNet and ConvNext pool to [n, d, 1, 1] or [n, d]."""

    model: Any

    def __call__(self, pixels: Tensor, /) -> Tensor:
        pooled = self.model.vision_model(pixel_values=pixels.to(self.model.dtype)).pooler_output
        return self.model.visual_projection(pooled.flatten(1))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, eq=False)
class PooledTextTower:
    """Any text transformer, pooled as the card says, then projected where the checkpoint has a projection."""

    model: Any
    pooling: str
    projection: Any = None

    def __call__(self, ids: Tensor, mask: Tensor, /) -> Tensor:
        output = self.model(input_ids=ids, attention_mask=mask)
        if self.pooling == "pooler":
            pooled = output.pooler_output
        elif self.pooling == "cls":
            pooled = output.last_hidden_state[:, 0]
        else:
            weight = mask.unsqueeze(-1).to(output.last_hidden_state.dtype)
            pooled = (output.last_hidden_state * weight).sum(1) / weight.sum(1)
        return pooled if self.projection is None else self.projection(pooled)  # type: ignore[no-any-return]


def _pooled(output: Any) -> Tensor:
    """The tensor itself: transformers 5 wraps it in an object."""
    return output if isinstance(output, Tensor) else output.pooler_output
