"""The `model` table of a run on pairs: where its towers come from, and what of them learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from moderation.training.section import Count, Section


class ImageScratch(Section):
    """An image tower from nothing. `depths` and `widths` are a ResNet's stages, the rest a ViT's."""

    kind: Literal["vit", "resnet"] = "vit"
    size: Annotated[int, Field(ge=16)] = 224
    patch: Count = 32
    width: Count = 512
    layers: Count = 8
    heads: Count = 8
    depths: Annotated[tuple[int, ...], Field(min_length=1)] = (3, 4, 6, 3)
    widths: Annotated[tuple[int, ...], Field(min_length=1)] = (256, 512, 1024, 2048)


class TextScratch(Section):
    """A text tower from nothing, over the tokenizer of a checkpoint."""

    tokenizer: str
    context: Annotated[int, Field(ge=8)] = 64
    width: Count = 384
    layers: Count = 6
    heads: Count = 6


class Lora(Section):
    """Low-rank adapters in the towers' attention and feed-forward layers; everything else of the towers stays."""

    rank: Count = 8
    alpha: Count = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DualModel(Section):
    """Both towers: a checkpoint to `start` from, or `image` and `text`, each a checkpoint or a section from scratch.

    `width` is of the vectors, where projections are new. `lock` names towers that stay as they are, and with them projections that are not new, unless
    `projections` lets these learn: with both towers locked, the heads alone. `patch_dropout` is the
    share of patches left out of each training picture. `checkpointing` recomputes activations to save memory. `compile` runs both towers
    through torch.compile, which takes minutes before the first step and needs a C++ compiler, on CUDA Triton.
    """

    start: str | None = None
    image: str | ImageScratch | None = None
    text: str | TextScratch | None = None
    width: Count = 512
    lock: tuple[Literal["image", "text"], ...] = ()
    projections: bool = False
    lora: Lora | None = None
    patch_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    checkpointing: bool = False
    compile: bool = False

    @model_validator(mode="after")
    def _one_start(self) -> DualModel:
        if (self.start is None) == (self.image is None or self.text is None) or (
            self.start and (self.image or self.text)
        ):
            raise ValueError("expected either 'start', or both 'image' and 'text'")
        return self
