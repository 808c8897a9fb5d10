"""Retrieval on pictures that a run does not learn from, while it learns: by the code that evaluates encoders."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from moderation.encoder.card import ImageCard
from moderation.encoder.images import decode
from moderation.encoder.tokens import TextTokenizer
from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.config import Valid
from moderation.training.crop import Whole
from moderation.training.dual import Dual
from moderation.training.evaluation.ranking import chunks
from moderation.training.evaluation.retrieval import retrieval
from moderation.training.places import open_pairs
from moderation.training.tokens import padded

KS = (1, 5)
PREFIX = "valid/"  # of the names in the log; the rest is what was looked for, and among how many
_BATCH = 64


class Validation:
    """A captioned set, its pictures read anew each time: only captions are held."""

    def __init__(self, settings: Valid, tokenizer: TextTokenizer, card: ImageCard, device: torch.device) -> None:
        self._pairs = open_pairs(settings.pairs, split=settings.split)
        # A fixed spread over the whole set: sets are often sorted.
        self._rows = np.unique(np.linspace(0, len(self._pairs) - 1, settings.most).round().astype(int)).tolist()
        self._tokenizer, self._prepare, self._device = tokenizer, Whole(card), device

    @torch.no_grad()
    def recalls(self, dual: Dual) -> dict[str, float]:
        """Recall both ways by name, 0 to 1; raises TrainingError where fewer than two pairs can be read.

        `dual` is in evaluation mode, so that nothing in it changes and no random number is drawn.
        """
        images: list[Tensor] = []
        captions: list[str] = []
        owner: list[int] = []
        seen = 0
        for pixels, several in self._read():
            owner += [seen + row for row, own in enumerate(several) for _ in own]
            captions += [caption for own in several for caption in own]
            images.append(dual.images(pixels.to(self._device)))
            seen += len(several)
        if seen < 2:
            raise TrainingError(f"valid.pairs: {seen} of {len(self._rows)} pairs can be read; expected 2 or more")
        texts = []
        for rows in chunks(len(captions), _BATCH):
            ids, mask = padded(self._tokenizer, captions[rows])
            texts.append(dual.texts(ids.to(self._device), mask.to(self._device)))
        found = retrieval(_half(images), _half(texts), np.array(owner, np.int64), ks=KS)
        both = {"captions": found.image_to_text, "pictures": found.text_to_image}
        return {f"{PREFIX}{what}_r{k}": recall.at[k].value for what, recall in both.items() for k in KS}

    def recall(self, dual: Dual) -> float:
        """The mean of recall@1 both ways, 0 to 1: what mixtures are chosen by."""
        recalls = self.recalls(dual)
        return (recalls[f"{PREFIX}captions_r1"] + recalls[f"{PREFIX}pictures_r1"]) / 2

    def _read(self) -> Iterator[tuple[Tensor, list[tuple[str, ...]]]]:
        """Batches of pictures with their captions; what cannot be read is passed over."""
        for rows in chunks(len(self._rows), _BATCH):
            pixels, captions = [], []
            for row in self._rows[rows]:
                try:
                    pair = self._pairs.read(row)
                    image = decode(pair.image, ImageLimits())
                except ItemError:
                    continue
                pixels.append(self._prepare(image, np.random.default_rng(0)))
                captions.append(pair.captions)
            if pixels:
                yield torch.stack(pixels), captions


def _half(vectors: list[Tensor]) -> NDArray[np.float16]:
    return torch.cat(vectors).cpu().numpy().astype(np.float16)
