"""Laws of the loader: a batch depends on the data, the seed and the step, and on nothing else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from moderation.training.data import Order
from moderation.training.loader import Loader, PairBatch
from tests.pair_files import Stubborn

COUNT = 60


def numbers(image: Image.Image, rng: np.random.Generator) -> torch.Tensor:
    """The place's random numbers instead of a crop: batches are equal only where these are."""
    return torch.from_numpy(rng.random((3, 2, 2), dtype=np.float32))


def batches(bad: set[int], *, batch: int, seed: int, steps: range, **options: int) -> list[PairBatch]:
    order = Order(np.ones(COUNT), batch=batch, seed=seed)
    with Loader(Stubborn(COUNT, bad=bad), numbers, order=order, seed=seed, **options) as loader:  # type: ignore[arg-type]
        return list(loader.batches(steps.start, steps.stop))


def facts(batch: PairBatch) -> object:
    return batch.step, batch.rows, batch.captions, batch.keys, batch.pixels.tolist()


few_bad = st.sets(st.integers(0, COUNT - 1), max_size=20)
seeds = st.integers(0, 2**32)


@given(few_bad, seeds, st.sampled_from([4, 12, 24]), st.integers(1, 4), st.integers(0, 3), st.integers(0, 8))
def test_threads_reading_ahead_and_the_first_step_change_nothing(  # noqa: PLR0917
    bad: set[int], seed: int, batch: int, threads: int, ahead: int, start: int
) -> None:
    whole = batches(bad, batch=batch, seed=seed, steps=range(10), threads=1, ahead=0)
    part = batches(bad, batch=batch, seed=seed, steps=range(start, 10), threads=threads, ahead=ahead)
    assert [facts(one) for one in whole[start:]] == [facts(one) for one in part]
    assert not bad & {row for one in whole for row in one.rows}


@given(few_bad, seeds, st.sampled_from([2, 3, 4, 6, 12]))
def test_the_parts_of_all_ranks_are_the_batch_of_one(bad: set[int], seed: int, ranks: int) -> None:
    (alone,) = batches(bad, batch=12, seed=seed, steps=range(7, 8), threads=1)
    parts = [
        batches(bad, batch=12, seed=seed, steps=range(7, 8), threads=1, rank=r, ranks=ranks)[0] for r in range(ranks)
    ]
    assert [row for part in parts for row in part.rows] == list(alone.rows)
    assert [text for part in parts for text in part.captions] == list(alone.captions)
    assert torch.equal(torch.cat([part.pixels for part in parts]), alone.pixels)


@given(few_bad, seeds)
def test_whole_records_stay_in_their_places(bad: set[int], seed: int) -> None:
    order = Order(np.ones(COUNT), batch=12, seed=seed)
    for batch in batches(bad, batch=12, seed=seed, steps=range(6), threads=2):
        asked = order.rows(batch.step).tolist()
        assert all(row == wanted for row, wanted in zip(batch.rows, asked, strict=True) if wanted not in bad)
