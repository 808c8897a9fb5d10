"""The loader: the same batches whatever the threads, the ranks or the first step; broken records replaced and counted."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from moderation.encoder.card import ImageCard
from moderation.encoder.images import decode
from moderation.errors import TrainingError
from moderation.settings import ImageLimits
from moderation.training.crop import RandomCrop, Whole
from moderation.training.data import Order
from moderation.training.loader import Loader, PairBatch
from moderation.training.pairs import Pairs
from moderation.training.places import open_pairs
from tests.pair_files import Stubborn, picture, tar_bytes, write_shard

CARD = ImageCard(size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CROP = RandomCrop(CARD, area=(0.3, 1.0), mirror=0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    folder = tmp_path_factory.mktemp("whole")
    for number in range(2):
        write_shard(folder / f"{number}.tar", 16 * number, 16)
    return open_pairs([folder])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """40 records; every fifth has no picture that can be decoded, every seventh an empty caption."""
    folder = tmp_path_factory.mktemp("noisy")
    members: dict[str, bytes | str] = {}
    for number in range(40):
        members[f"{number:02d}.jpg"] = picture(number)[: 100 if number % 5 == 0 else None]
        members[f"{number:02d}.txt"] = "" if number % 7 == 0 else f"picture {number}"
    (folder / "a.tar").write_bytes(tar_bytes(members))
    return open_pairs([folder])


def loader(pairs: Pairs, *, batch: int = 12, seed: int = 3, threads: int = 2, **options: int) -> Loader:
    order = Order(np.ones(len(pairs)), batch=batch, seed=seed)
    return Loader(pairs, CROP, order=order, seed=seed, threads=threads, **options)


def same(left: PairBatch, right: PairBatch) -> bool:
    facts = [(one.step, one.captions, one.rows, one.keys) for one in (left, right)]
    return facts[0] == facts[1] and torch.equal(left.pixels, right.pixels)


def test_batches_are_those_made_by_hand(whole: Pairs) -> None:
    order = Order(np.ones(32), batch=12, seed=3)
    with Loader(whole, Whole(CARD), order=order, seed=3, threads=2) as found:
        for batch in found.batches(0, 5):
            pairs = [whole.read(int(row)) for row in order.rows(batch.step)]
            pixels = [Whole(CARD)(decode(pair.image, ImageLimits()), np.random.default_rng(0)) for pair in pairs]
            assert batch.rows == tuple(order.rows(batch.step).tolist())
            assert torch.equal(batch.pixels, torch.stack(pixels))
            assert (batch.pixels.dtype, batch.pixels.shape) == (torch.float32, (12, 3, 8, 8))
            assert batch.keys == tuple(pair.key for pair in pairs)
            assert all(caption in pair.captions for caption, pair in zip(batch.captions, pairs, strict=True))
    assert (found.read, found.broken.total) == (60, 0)


def test_threads_and_reading_ahead_change_nothing(noisy: Pairs) -> None:
    with loader(noisy, threads=1, ahead=0) as one, loader(noisy, threads=5, ahead=7) as many:
        pairs = list(zip(one.batches(0, 9), many.batches(0, 9), strict=True))
        assert all(same(left, right) for left, right in pairs)
    assert (one.broken.counts, one.broken.keys, one.read) == (many.broken.counts, many.broken.keys, many.read)


def test_a_run_resumed_at_any_step_gets_the_same_batches(noisy: Pairs) -> None:
    with loader(noisy) as straight, loader(noisy) as resumed:
        batches = list(straight.batches(0, 8))
        assert all(same(left, right) for left, right in zip(batches[5:], resumed.batches(5, 8), strict=True))
        assert same(batches[2], resumed.batch(2))
    assert not torch.equal(batches[0].pixels, batches[1].pixels)


def test_another_seed_or_step_crops_and_chooses_otherwise(whole: Pairs) -> None:
    with loader(whole, batch=32) as first, loader(whole, batch=32, seed=4) as second:
        batches = [first.batch(0), first.batch(1), second.batch(0)]
    by_row = [dict(zip(batch.rows, zip(batch.captions, batch.pixels, strict=True), strict=True)) for batch in batches]
    for other in by_row[1:]:
        assert any(by_row[0][row][0] != other[row][0] for row in range(32))
        assert not any(torch.equal(by_row[0][row][1], other[row][1]) for row in range(32))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_the_parts_of_all_ranks_are_the_batch_of_one(noisy: Pairs, ranks: int) -> None:
    parts = []
    for rank in range(ranks):
        with loader(noisy, rank=rank, ranks=ranks) as one:
            parts.append(one.batch(2))
    with loader(noisy) as alone:
        batch = alone.batch(2)
    assert torch.equal(torch.cat([part.pixels for part in parts]), batch.pixels)
    assert sum((part.captions for part in parts), ()) == batch.captions
    assert sum((part.rows for part in parts), ()) == batch.rows


def test_a_broken_record_is_replaced_by_one_of_the_next_steps(noisy: Pairs) -> None:
    order = Order(np.ones(40), batch=12, seed=3)
    broken = {row for row in range(40) if row % 5 == 0 or row % 7 == 0}
    with loader(noisy) as found:
        for step in range(3):
            batch, asked = found.batch(step), order.rows(step).tolist()
            for place, (row, wanted) in enumerate(zip(batch.rows, asked, strict=True)):
                column = [int(order.rows((step + later) % 3)[place]) for later in range(3)]
                good = [one for one in column if one not in broken]
                assert row == (wanted if wanted not in broken else good[0] if good else row)
            assert not broken & set(batch.rows)


def test_broken_records_are_counted_by_reason_with_their_keys(noisy: Pairs) -> None:
    with loader(noisy, batch=40) as found:
        batch = found.batch(0)
    assert len(batch.rows) == 40
    assert set(found.broken.counts) == {"unsupported_input", "empty_caption"}
    assert found.broken.total == found.read - 40
    assert all(key.startswith("a.tar/") for keys in found.broken.keys.values() for key in keys)


def test_where_nothing_can_be_read_the_run_stops() -> None:
    with loader(Stubborn(40, bad={*range(40)})) as found, pytest.raises(TrainingError) as caught:
        found.batch(1)
    assert "step 1: none of 36 records in a row can be read: 36 unreadable (record" in str(caught.value)


def test_more_than_half_broken_stops_the_run() -> None:
    with (
        loader(Stubborn(400, bad={*range(230)}), batch=20) as found,
        pytest.raises(
            TrainingError, match=r"step \d+: \d+ of \d+ records read are broken; expected at most half; \d+ unread"
        ),
    ):
        list(found.batches(0, 20))


def test_less_than_half_broken_does_not() -> None:
    with loader(Stubborn(400, bad={*range(120)}), batch=20) as found:
        assert len(list(found.batches(0, 20))) == 20
    assert found.broken.total > 0


def test_an_error_nobody_foresaw_names_its_step() -> None:
    order = Order(np.ones(36), batch=12, seed=3)
    odd = int(order.rows(2)[4])
    with loader(Stubborn(36, odd={odd})) as found:
        batches = found.batches(0, 3)
        assert [next(batches).step, next(batches).step] == [0, 1]
        with pytest.raises(TrainingError, match="step 2: the batch cannot be prepared: ZeroDivisionError: as asked"):
            next(batches)


def test_the_share_of_time_waited_is_measured(whole: Pairs) -> None:
    with loader(whole) as found:
        assert found.wait_share == 0.0
        list(found.batches(0, 3))
        assert found.waited > 0
        assert found.used > 0
        assert found.wait_share == found.waited / (found.waited + found.used)


def test_batches_are_prepared_while_the_caller_is_busy(whole: Pairs) -> None:
    prepared: set[int] = set()
    enough = threading.Event()

    def prepare(image: Image.Image, rng: np.random.Generator) -> torch.Tensor:
        prepared.add(len(prepared))
        if len(prepared) == 24:
            enough.set()
        return CROP(image, rng)

    order = Order(np.ones(32), batch=8, seed=3)
    with Loader(whole, prepare, order=order, seed=3, threads=1, ahead=2) as found:
        batches = found.batches(0, 4)
        next(batches)
        assert enough.wait(timeout=30)  # the two steps that follow, with nobody asking for them
        batches.close()


def test_closing_ends_the_threads_and_drops_what_was_ahead(whole: Pairs) -> None:
    before = threading.active_count()
    with loader(whole, threads=4, ahead=50) as found:
        next(found.batches(0, 100))
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"ahead": -1}, {"rank": 2, "ranks": 2}, {"ranks": 5}, {"rank": -1, "ranks": 2}]
)
def test_numbers_that_do_not_fit_are_refused(whole: Pairs, options: dict[str, int]) -> None:
    with pytest.raises(TrainingError, match=json.dumps(next(iter(options.values()))) + "|evenly by 5"):
        loader(whole, **options)
