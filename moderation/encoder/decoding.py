"""Picture files into pixels in threads, ahead of who asks for them: while a tower runs one batch, the next is decoded."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

from moderation.encoder import images
from moderation.encoder.card import ImageCard
from moderation.encoder.preprocess import Pixels, fit, jpeg_scale
from moderation.errors import ItemError
from moderation.settings import ImageLimits, PixelsWay

_MAX_THREADS = 8
# Decoding takes four to thirteen bytes a pixel (measured); of the large pictures only two are in memory at a time.
_LARGE_PIXELS = 8_000_000
_LARGE_AT_ONCE = 2
# What is begun early and not asked for yet, at most: pictures, bytes of their files, and seconds until it is forgotten.
_MOST_EARLY = 128
_MOST_EARLY_BYTES = 64_000_000
_EARLY_SECONDS = 30.0

Ready = Pixels | ItemError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a picture's file becomes pixels."""

    card: ImageCard
    limits: ImageLimits
    way: PixelsWay


class Decoder:
    """A pool of threads. Pillow and torch let other threads run while they decode and resize."""

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or min(_MAX_THREADS, os.cpu_count() or 1), "decode")
        self._large = threading.BoundedSemaphore(_LARGE_AT_ONCE)
        self._lock = threading.Lock()
        # By content itself, not by a hash of it: nobody may get another picture's pixels.
        self._early: OrderedDict[bytes, tuple[float, Future[Ready]]] = OrderedDict()
        self._early_bytes = 0

    def prepare(self, contents: Sequence[bytes], recipe: Recipe) -> None:
        """Begin to decode what will be asked for soon. Where too much waits already to be asked for, nothing happens."""
        now = time.monotonic()
        with self._lock:
            while self._early and now - next(iter(self._early.values()))[0] > _EARLY_SECONDS:
                self._take_early(next(iter(self._early))).cancel()
            for content in contents:
                if len(self._early) >= _MOST_EARLY or self._early_bytes + len(content) > _MOST_EARLY_BYTES:
                    return
                if content not in self._early:
                    self._early[content] = now, self._begin(content, recipe)
                    self._early_bytes += len(content)

    def decoded(self, contents: Sequence[bytes], recipe: Recipe, *, ahead: int) -> Iterator[Future[Ready]]:
        """The pixels of each, in order, or why it has none; at most so many are begun `ahead` of who asks."""
        begun: deque[Future[Ready]] = deque()
        rest = iter(contents)
        for _ in contents:
            for content in rest:
                begun.append(self._early_or_now(content, recipe))
                if len(begun) > ahead:
                    break
            yield begun.popleft()

    def _early_or_now(self, content: bytes, recipe: Recipe) -> Future[Ready]:
        with self._lock:
            early = content in self._early
            return self._take_early(content) if early else self._begin(content, recipe)

    def _take_early(self, content: bytes) -> Future[Ready]:
        self._early_bytes -= len(content)
        return self._early.pop(content)[1]

    def _begin(self, content: bytes, recipe: Recipe) -> Future[Ready]:
        return self._pool.submit(self._decode, content, recipe)

    def _decode(self, content: bytes, recipe: Recipe) -> Ready:
        try:
            header = images.check(content, recipe.limits)
            scale = jpeg_scale(header, recipe.card) if recipe.way == "fast" else 1
            with self._large if header.pixels > _LARGE_PIXELS else nullcontext():
                return fit(images.decode(content, recipe.limits, scale=scale), recipe.card, recipe.way)
        except ItemError as error:
            return error
