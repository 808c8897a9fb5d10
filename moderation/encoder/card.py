"""The encoder card: what must be known about a checkpoint to use it rightly, as `card.json` beside its weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

CARD_FILE = "card.json"

Channels = tuple[float, float, float]


class _Card(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageCard(_Card):
    """How a picture becomes pixels.

    `fit` is "crop" (short side to `size`, centre crop; beyond `pad_beyond`:1 the whole picture is fitted and padded, so
    that nothing at its edge escapes), "pad" (always fitted and padded, with the mean colour) or "stretch" (both sides
    to `size`, as SigLIP and ViT were trained).
    """

    size: Annotated[int, Field(gt=0)]
    mean: Channels
    std: Channels
    resample: Literal["bicubic", "bilinear"] = "bicubic"
    fit: Literal["crop", "pad", "stretch"] = "crop"
    pad_beyond: Annotated[float, Field(ge=1)] = 1.5


class TextCard(_Card):
    """How a text becomes tokens and a vector.

    `trim_exact`: cutting padding to the batch's longest text changes nothing. `pooling` is "pooler" (the tower's own),
    "mean" (over the text's tokens) or "cls" (the first token).
    """

    context_length: Annotated[int, Field(gt=0)]
    padding: Literal["longest", "max_length"]
    trim_exact: bool
    lowercase: bool = False
    pooling: Literal["pooler", "mean", "cls"] = "pooler"
    languages: tuple[str, ...] = ("en",)


class EncoderCard(_Card):
    """Everything about a checkpoint that its weights do not say.

    `activation` is the image tower's, or the text tower's where there is no image tower.
    """

    schema_: Literal["encoder-card/v1"] = Field("encoder-card/v1", alias="schema")
    name: str
    modalities: tuple[Literal["image", "text"], ...]
    width: Annotated[int, Field(gt=0)]
    activation: str
    image: ImageCard | None = None
    text: TextCard | None = None
    licence: str | None = None
    trained_on: tuple[str, ...] = ()
    metrics: dict[str, Any] = {}
