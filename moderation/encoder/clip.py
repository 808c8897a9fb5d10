"""The encoder: decode and resize in threads, run the towers in bucket sizes, round once to float16 at the way out."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from moderation.encoder import images as pictures
from moderation.encoder.base import Encoded, Fingerprint, Vectors
from moderation.encoder.card import EncoderCard, ImageCard
from moderation.encoder.preprocess import Pixels, fit, normalise
from moderation.encoder.tokens import BATCH_BUCKETS, Ids, TextTokenizer, batch_sizes, length_bucket
from moderation.encoder.towers import ImageTower, TextTower
from moderation.errors import EncoderError, ItemError
from moderation.settings import ImageLimits

_BATCH = BATCH_BUCKETS[-1]
_MAX_THREADS = 8
# Decoding takes four to thirteen bytes a pixel (measured); of the large pictures only two are in memory at a time.
_LARGE_PIXELS = 8_000_000
_LARGE_AT_ONCE = 2
_NORM_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True)
class ImageSide:
    """What encodes pictures."""

    card: ImageCard
    tower: ImageTower


@dataclass(frozen=True, slots=True)
class TextSide:
    """What encodes texts."""

    tokenizer: TextTokenizer
    tower: TextTower


@dataclass(frozen=True, slots=True)
class TorchEncoder:
    """An Encoder that runs on torch. Safe to call from several threads: pictures of one call are decoded while another's are in the tower."""

    card: EncoderCard
    fingerprint: Fingerprint
    device: torch.device
    image: ImageSide | None
    text: TextSide | None
    limits: ImageLimits
    _pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1), "decode"), repr=False
    )
    _large: threading.BoundedSemaphore = field(
        default_factory=lambda: threading.BoundedSemaphore(_LARGE_AT_ONCE), repr=False
    )
    # One batch at a time in a tower: two would share its device, and on a CPU spin against each other.
    _tower: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        """Vectors of pictures; while the tower runs one batch, threads decode the next."""
        side = self.image
        if side is None:
            raise EncoderError(f"encoder {self.card.name!r} has no image tower; it encodes {self.card.modalities}")
        out = _Output(len(images), self.card.width)
        waiting: list[tuple[int, Pixels]] = []
        for row, ready in self._decoded(images, side.card, out):
            if isinstance(ready, ItemError):
                out.errors[row] = ready
            else:
                waiting.append((row, ready))
            if len(waiting) == _BATCH:
                self._run_images(side, waiting, out)
                waiting.clear()
        self._run_images(side, waiting, out)
        return out.encoded()

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        """Vectors of texts; sorted by length inside, so that short ones do not pay for long ones."""
        side = self._text_side()
        out = _Output(len(texts), self.card.width)
        by_length: dict[int, list[tuple[int, Ids]]] = {}
        for row, ids in enumerate(side.tokenizer.batch(texts)):
            if isinstance(ids, ItemError):
                out.errors[row] = ids
            else:
                by_length.setdefault(length_bucket(len(ids), side.tokenizer.card), []).append((row, ids))
        for length in sorted(by_length):
            self._run_texts(side, by_length[length], length, out)
        return out.encoded()

    def count_tokens(self, text: str) -> int:
        """How many tokens a text has, special tokens included."""
        return len(self._text_side().tokenizer.tokens(text))

    def _text_side(self) -> TextSide:
        if self.text is None:
            raise EncoderError(f"encoder {self.card.name!r} has no text tower; it encodes {self.card.modalities}")
        return self.text

    def _decoded(
        self, images: Sequence[bytes], card: ImageCard, out: _Output
    ) -> Iterator[tuple[int, Pixels | ItemError]]:
        """Rows in order, at most two batches ahead of the tower."""
        ahead: deque[Future[Pixels | ItemError]] = deque()
        rows = iter(images)
        for row in range(len(images)):
            for content in rows:
                ahead.append(self._pool.submit(self._prepare, content, card))
                if len(ahead) > 2 * _BATCH:
                    break
            began = time.perf_counter()
            ready = ahead.popleft().result()
            out.decode_seconds += time.perf_counter() - began
            yield row, ready

    def _prepare(self, content: bytes, card: ImageCard) -> Pixels | ItemError:
        try:
            if pictures.check(content, self.limits).pixels <= _LARGE_PIXELS:
                return fit(pictures.decode(content, self.limits), card)
            with self._large:
                return fit(pictures.decode(content, self.limits), card)
        except ItemError as error:
            return error

    def _run_images(self, side: ImageSide, rows: Sequence[tuple[int, Pixels]], out: _Output) -> None:
        start = 0
        for count, run in batch_sizes(len(rows)):
            batch = np.zeros((run, side.card.size, side.card.size, 3), dtype=np.uint8)
            for at, (_, pixels) in enumerate(rows[start : start + count]):
                batch[at] = pixels
            with self._tower, torch.inference_mode():
                on_device = torch.from_numpy(batch).to(self.device, non_blocking=True)
                vectors = _finished(side.tower(normalise(on_device, side.card)))
            out.put([row for row, _ in rows[start : start + count]], vectors)
            start += count

    def _run_texts(self, side: TextSide, rows: Sequence[tuple[int, Ids]], length: int, out: _Output) -> None:
        start = 0
        for count, run in batch_sizes(len(rows)):
            taken = rows[start : start + count]
            ids = np.full((run, length), side.tokenizer.padding_id, dtype=np.int64)
            mask = np.zeros((run, length), dtype=np.int64)
            for at in range(run):  # padding rows repeat the first text, since an empty mask has no mean
                tokens = taken[at if at < count else 0][1]
                ids[at, : len(tokens)], mask[at, : len(tokens)] = tokens, 1
            with self._tower, torch.inference_mode():
                arguments = torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)
                vectors = _finished(side.tower(*arguments))
            out.put([row for row, _ in taken], vectors)
            start += count


class _Output:
    """The rows of a call, filled batch by batch."""

    def __init__(self, count: int, width: int) -> None:
        self.vectors: Vectors = np.zeros((count, width), dtype=np.float16)
        self.errors: dict[int, ItemError] = {}
        self.decode_seconds = 0.0

    def put(self, rows: Sequence[int], vectors: Vectors) -> None:
        """The first vectors of a padded batch; a vector that is not finite, or zero, becomes its row's error."""
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        for row, vector, norm in zip(rows, vectors, norms, strict=False):
            if abs(norm - 1) < _NORM_TOLERANCE:  # False for NaN
                self.vectors[row] = vector
            else:
                self.errors[row] = ItemError("encoder_failed", f"the encoder's vector has norm {norm}; expected 1")

    def encoded(self) -> Encoded:
        return Encoded(self.vectors, self.errors, self.decode_seconds)


def _finished(vectors: Tensor) -> Vectors:
    """L2-normalised in float32, rounded to float16 once."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1).to(torch.float16).cpu().numpy()
