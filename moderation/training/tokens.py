"""Captions into padded token ids, as few columns as the batch's longest needs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from moderation.encoder.tokens import TextTokenizer, length_bucket


def padded(tokenizer: TextTokenizer, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Padded ids and mask, int64 [n, t]: t is the length bucket of the longest, where the card says that this is exact.

    A caption that is too long is cut and keeps its last token, which closes it: training has no one to tell, and few lose much.
    """
    context = tokenizer.card.context_length
    rows = [tokenizer.tokens(text) for text in captions]
    rows = [row if len(row) <= context else (*row[: context - 1], row[-1]) for row in rows]
    length = length_bucket(max(map(len, rows)), tokenizer.card)
    ids = torch.full((len(rows), length), tokenizer.padding_id)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = 1
    return ids, mask
