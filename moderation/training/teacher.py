"""A teacher's similarities for a batch, that a student learns beside its own pairs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from moderation.encoder.card import EncoderCard, ImageCard
from moderation.encoder.checkpoint import describe, model_of, tokenizer
from moderation.training.dual import Dual
from moderation.training.tokens import padded


class Teacher:
    """A checkpoint that sees the student's own pictures, crops and all, brought to its size and its normalisation."""

    def __init__(self, reference: str, student: EncoderCard, device: torch.device) -> None:
        found = describe(reference)
        assert student.image is not None, "a student reads pictures"  # noqa: S101
        assert found.card.image is not None, "checked where the run starts"  # noqa: S101
        self._tokenizer = tokenizer(found)
        self._dual = Dual(model_of(found), found.family, found.card, largest_scale=100.0, bias=0.0).to(device).eval()
        self._from, self._to, self._device = student.image, found.card.image, device

    def loss(self, images: Tensor, texts: Tensor, pixels: Tensor, captions: Sequence[str]) -> Tensor:
        """Cross entropy of the student's softmax over the batch against the teacher's, both ways, at the teacher's scale.

        Source: the interaction loss of CLIP-KD (Yang et al., 2024) in the form of a distribution over the batch.
        """
        ids, mask = padded(self._tokenizer, captions)
        with torch.no_grad():
            seen, read = self._dual(resized(pixels, self._from, self._to), ids.to(self._device), mask.to(self._device))
            scale = self._dual.scale()
            wanted = scale * seen @ read.T
        logits = scale * images @ texts.T
        down = functional.cross_entropy(logits.T, wanted.T.softmax(dim=1))
        return 0.5 * (functional.cross_entropy(logits, wanted.softmax(dim=1)) + down)


def resized(pixels: Tensor, given: ImageCard, wanted: ImageCard) -> Tensor:
    """Pixels normalised by one card, as another card would have them."""

    def channels(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)

    plain = pixels * channels(given.std) + channels(given.mean)
    if wanted.size != pixels.shape[-1]:
        plain = functional.interpolate(plain, size=wanted.size, mode="bicubic", antialias=True, align_corners=False)
    return (plain.clamp(0.0, 1.0) - channels(wanted.mean)) / channels(wanted.std)
