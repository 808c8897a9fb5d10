"""Batches of pictures and captions, prepared on threads ahead of the training step, each a pure function of seed and step.

Nothing has state that a resume would have to replay: any step can be asked for first, and threads only change how soon it is there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moderation.encoder.images import decode
from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.broken import Broken
from moderation.training.data import Order
from moderation.training.pairs import Pairs

Prepare = Callable[[Image.Image, np.random.Generator], Tensor]

# Names of the random streams, so that none shares its numbers with another or with the order.
_CROP_STREAM, _CAPTION_STREAM = 0x63726F70, 0x63617074
_PLACES_PER_TASK = 8
_MOST_TRIES = 1000
_ENOUGH_TO_JUDGE = 200


@dataclass(frozen=True, slots=True)
class PairBatch:
    """One step's pairs in order: pixels float32 [n, 3, s, s], a caption each, and the rows and keys they were read from."""

    step: int
    pixels: Tensor
    captions: tuple[str, ...]
    rows: tuple[int, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ready:
    pixels: Tensor
    caption: str
    row: int
    key: str
    failed: tuple[tuple[str, str], ...]  # (reason, key) of the rows tried before


class Loader:
    """Prepares the batches of an order, `ahead` steps before they are asked for; close it, or use it in a `with`.

    `prepare` makes one tensor of a decoded picture and random numbers that depend on the seed, the step and the place in the batch.
    Of `ranks` processes, `rank` gets its contiguous part of each batch; all parts together are the batch of one process.
    A broken record is replaced by the one that the order has at the same place of the epoch's next step, and counted in `broken`.
    `waited` and `used` are the seconds that the caller waited for batches and spent with them.
    """

    def __init__(
        self,
        pairs: Pairs,
        prepare: Prepare,
        *,
        order: Order,
        seed: int,
        threads: int,
        ahead: int = 4,
        rank: int = 0,
        ranks: int = 1,
        limits: ImageLimits | None = None,
    ) -> None:
        if threads < 1 or ahead < 0 or not 0 <= rank < ranks:
            raise TrainingError(
                f"threads {threads}, ahead {ahead}, rank {rank} of {ranks}; expected threads from 1, ahead from 0, rank below ranks"
            )
        if order.batch % ranks:
            raise TrainingError(f"a batch of {order.batch} cannot be shared evenly by {ranks} ranks")
        share = order.batch // ranks
        self._places = range(rank * share, (rank + 1) * share)
        self._pairs, self._prepare, self._order, self._seed = pairs, prepare, order, seed
        self._ahead, self._limits = ahead, limits or ImageLimits()
        self._pool = ThreadPoolExecutor(threads, "pairs")
        self.broken = Broken()
        self.read = 0
        self.waited = self.used = 0.0

    @property
    def wait_share(self) -> float:
        """The share of its time, 0 to 1, that the caller waited for batches; 0 before the first."""
        spent = self.waited + self.used
        return self.waited / spent if spent else 0.0

    def batch(self, step: int) -> PairBatch:
        """The batch of `step`, alone."""
        return next(self.batches(step, step + 1))

    def batches(self, start: int, stop: int) -> Iterator[PairBatch]:
        """The batches of the steps from `start` up to `stop`, in order.

        Raises TrainingError naming the step where it cannot be prepared, and where more than half of all records read are broken.
        """
        ahead: deque[tuple[int, list[Future[list[_Ready]]]]] = deque()
        coming = iter(range(start, stop))
        try:
            for step in range(start, stop):
                began = time.perf_counter()
                while len(ahead) <= self._ahead and (following := next(coming, None)) is not None:
                    ahead.append((following, self._submit(following)))
                batch = self._collect(step, ahead.popleft()[1])
                ready = time.perf_counter()
                self.waited += ready - began
                yield batch
                self.used += time.perf_counter() - ready
        finally:
            for _, tasks in ahead:
                for task in tasks:
                    task.cancel()

    def close(self) -> None:
        """Stop the threads; what was prepared ahead is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _submit(self, step: int) -> list[Future[list[_Ready]]]:
        self._order.rows(step)  # here, so that the threads do not each shuffle the epoch
        parts = [self._places[at : at + _PLACES_PER_TASK] for at in range(0, len(self._places), _PLACES_PER_TASK)]
        return [self._pool.submit(self._places_of, step, part) for part in parts]

    def _collect(self, step: int, tasks: list[Future[list[_Ready]]]) -> PairBatch:
        try:
            found = [ready for task in tasks for ready in task.result()]
        except TrainingError:
            raise
        except Exception as error:
            raise TrainingError(
                f"step {step}: the batch cannot be prepared: {type(error).__name__}: {error}"
            ) from error
        self._count(step, found)
        return PairBatch(
            step,
            torch.stack([ready.pixels for ready in found]),
            tuple(ready.caption for ready in found),
            tuple(ready.row for ready in found),
            tuple(ready.key for ready in found),
        )

    def _count(self, step: int, found: list[_Ready]) -> None:
        """Counted as batches are handed out, so that the counts of a step do not depend on how far ahead the threads are."""
        for ready in found:
            self.read += 1 + len(ready.failed)
            for reason, key in ready.failed:
                self.broken.add(reason, key)
        if self.read >= _ENOUGH_TO_JUDGE and self.broken.total * 2 > self.read:
            raise TrainingError(
                f"step {step}: {self.broken.total} of {self.read} records read are broken; expected at most half; {self.broken}"
            )

    def _places_of(self, step: int, places: range) -> list[_Ready]:
        return [self._place(step, place) for place in places]

    def _place(self, step: int, place: int) -> _Ready:
        failed: list[tuple[str, str]] = []
        for row in self._candidates(step, place):
            try:
                pixels, caption, key = self._one(step, place, row)
            except ItemError as error:
                failed.append((error.reason, self._pairs.key(row)))
            else:
                return _Ready(pixels, caption, row, key, tuple(failed))
        reasons = Broken()
        for reason, key in failed:
            reasons.add(reason, key)
        raise TrainingError(f"step {step}: none of {len(failed)} records in a row can be read: {reasons}")

    def _candidates(self, step: int, place: int) -> Iterator[int]:
        """The row of this place, then those that can stand in for it.

        First the same place of the epoch's other steps, which no row of this batch can be while rows come once an epoch; then the
        places that follow.
        """
        steps, batch = self._order.steps_per_epoch, self._order.batch
        epoch, inside = divmod(step, steps)
        for attempt in range(min(steps * batch, _MOST_TRIES)):
            rows = self._order.rows(epoch * steps + (inside + attempt) % steps)
            yield int(rows[(place + attempt // steps) % batch])

    def _one(self, step: int, place: int, row: int) -> tuple[Tensor, str, str]:
        pair = self._pairs.read(row)
        image = decode(pair.image, self._limits)
        chosen = np.random.default_rng([self._seed, _CAPTION_STREAM, step, row]).integers(len(pair.captions))
        pixels = self._prepare(image, np.random.default_rng([self._seed, _CROP_STREAM, step, place]))
        return pixels, pair.captions[int(chosen)], pair.key
