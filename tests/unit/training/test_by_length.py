"""Captions in groups of about one length: every row once, none cut, and the vectors of the whole batch at once."""

from __future__ import annotations

from pathlib import Path

import torch

from moderation.encoder.card import TextCard
from moderation.encoder.checkpoint import describe, model_of
from moderation.training.dual import Dual, by_length
from tests.unit.encoder import checkpoints

CARD = TextCard(context_length=40, padding="longest", trim_exact=True)


def mask_of(*lengths: int) -> torch.Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()


def test_a_row_goes_with_its_like_and_a_handful_with_the_next_longer() -> None:
    groups = by_length(mask_of(*[5] * 10, 12, *[20] * 8, 40), CARD)
    assert [(length, rows.tolist()) for length, rows in groups] == [
        (8, list(range(10))),
        (32, list(range(10, 19))),
        (40, [19]),
    ]


def test_where_trimming_is_not_exact_there_is_one_group() -> None:
    ((length, rows),) = by_length(mask_of(3, 9, 40), CARD.model_copy(update={"padding": "max_length"}))
    assert (length, rows.tolist()) == (40, [0, 1, 2])


def test_vectors_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    checkpoints.clip(tmp_path)
    found = describe(str(tmp_path))
    dual = Dual(model_of(found), found.family, found.card, largest_scale=100.0, bias=0.0)
    mask = mask_of(3, 30, 7, 14, 40, 8, 5, 20)
    ids = torch.randint(5, 30, mask.shape, generator=torch.Generator().manual_seed(0))
    ids[torch.arange(len(ids)), mask.sum(1) - 1] = 59
    pixels = torch.zeros(len(ids), 3, 48, 48)
    with torch.inference_mode():
        _, texts = dual(pixels, torch.where(mask > 0, ids, 59), mask)
        expected = torch.nn.functional.normalize(dual._text_tower()(torch.where(mask > 0, ids, 59), mask), dim=1)
    torch.testing.assert_close(texts, expected, atol=1e-6, rtol=0)
