"""The encoder: decode and resize in threads, run the towers in bucket sizes, round once to float16 at the way out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from moderation.encoder.base import ENCODER_ERROR, Encoded, Fingerprint, Vectors
from moderation.encoder.card import EncoderCard, ImageCard
from moderation.encoder.decoding import Decoder, Recipe
from moderation.encoder.lane import CpuLane, Lane
from moderation.encoder.preprocess import Pixels, normalise
from moderation.encoder.tokens import Ids, TextTokenizer, batch_sizes, length_bucket
from moderation.encoder.towers import ImageTower, TextTower
from moderation.errors import EncoderError, ItemError
from moderation.settings import ImageLimits, PixelsWay

NORM_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class ImageSide:
    """What encodes pictures."""

    card: ImageCard
    tower: ImageTower

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [n, size, size, 3] into finished vectors, float16 [n, d], on the same device."""
        return _finished(self.tower(normalise(pixels, self.card)))


@dataclass(frozen=True, slots=True, eq=False)
class TextSide:
    """What encodes texts."""

    tokenizer: TextTokenizer
    tower: TextTower

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Padded ids and their mask, int64 [n, tokens], into finished vectors, float16 [n, d], on the same device."""
        return _finished(self.tower(ids, mask))


@dataclass(frozen=True, slots=True)
class TorchEncoder:
    """An Encoder that runs on torch. Safe to call from several threads: pictures of one call are decoded while another's are in the tower."""

    card: EncoderCard
    fingerprint: Fingerprint
    device: torch.device
    image: ImageSide | None
    text: TextSide | None
    limits: ImageLimits
    pixels: PixelsWay = "exact"
    lane: Lane = field(default_factory=CpuLane, repr=False)
    decoder: Decoder = field(default_factory=Decoder, repr=False)

    @property
    def buckets(self) -> Sequence[int]:
        """The batch sizes that its towers run, ascending."""
        return self.lane.buckets

    def prepare_images(self, images: Sequence[bytes]) -> None:
        """Begin to decode pictures that `encode_images` will be asked for soon."""
        if self.image:
            self.decoder.prepare(images, self._recipe(self.image))

    def prepared(self, images: Sequence[bytes]) -> list[Pixels | ItemError]:
        """The pixels that the tower would be given, or why there are none."""
        if self.image is None:
            return []
        recipe = self._recipe(self.image)
        return [one.result() for one in self.decoder.decoded(images, recipe, ahead=len(images))]

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        """Vectors of pictures; while the tower runs one batch, threads decode the next."""
        side = self.image
        if side is None:
            raise EncoderError(f"encoder {self.card.name!r} has no image tower; it encodes {self.card.modalities}")
        out, largest = _Output(len(images), self.card.width), self.buckets[-1]
        waiting: list[tuple[int, Pixels]] = []
        for row, future in enumerate(self.decoder.decoded(images, self._recipe(side), ahead=2 * largest)):
            began = time.perf_counter()
            ready = future.result()
            out.decode_seconds += time.perf_counter() - began
            if isinstance(ready, ItemError):
                out.errors[row] = ready
            else:
                waiting.append((row, ready))
            if len(waiting) == largest:
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

    def _recipe(self, side: ImageSide) -> Recipe:
        return Recipe(side.card, self.limits, self.pixels)

    def _run_images(self, side: ImageSide, rows: Sequence[tuple[int, Pixels]], out: _Output) -> None:
        start = 0
        for count, run in batch_sizes(len(rows), self.buckets):
            batch = np.zeros((run, side.card.size, side.card.size, 3), dtype=np.uint8)
            for at, (_, pixels) in enumerate(rows[start : start + count]):
                batch[at] = pixels
            out.expect([row for row, _ in rows[start : start + count]], self.lane.submit(side, torch.from_numpy(batch)))
            start += count

    def _run_texts(self, side: TextSide, rows: Sequence[tuple[int, Ids]], length: int, out: _Output) -> None:
        start = 0
        for count, run in batch_sizes(len(rows), self.buckets):
            taken = rows[start : start + count]
            ids = np.full((run, length), side.tokenizer.padding_id, dtype=np.int64)
            mask = np.zeros((run, length), dtype=np.int64)
            for at in range(run):  # padding rows repeat the first text, since an empty mask has no mean
                tokens = taken[at if at < count else 0][1]
                ids[at, : len(tokens)], mask[at, : len(tokens)] = tokens, 1
            out.expect([row for row, _ in taken], self.lane.submit(side, torch.from_numpy(ids), torch.from_numpy(mask)))
            start += count


class _Output:
    """The rows of a call, filled batch by batch."""

    def __init__(self, count: int, width: int) -> None:
        self.vectors: Vectors = np.zeros((count, width), dtype=np.float16)
        self.errors: dict[int, ItemError] = {}
        self.decode_seconds = 0.0
        self._running: deque[tuple[Sequence[int], Callable[[], Vectors]]] = deque()

    def expect(self, rows: Sequence[int], wait: Callable[[], Vectors]) -> None:
        """A batch runs that will give these rows; the one before it is waited for."""
        self._running.append((rows, wait))
        if len(self._running) > 1:
            self._put()

    def encoded(self) -> Encoded:
        """All rows, once the last batch is done."""
        while self._running:
            self._put()
        return Encoded(self.vectors, self.errors, self.decode_seconds)

    def _put(self) -> None:
        """The first vectors of the oldest, padded batch; a vector that is not finite, or zero, becomes its row's error."""
        rows, wait = self._running.popleft()
        vectors = wait()
        norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
        for row, vector, norm in zip(rows, vectors, norms, strict=False):
            if abs(norm - 1) < NORM_TOLERANCE:  # False for NaN
                self.vectors[row] = vector
            else:
                self.errors[row] = ItemError(ENCODER_ERROR, f"the encoder's vector has norm {norm}; expected 1")


def _finished(vectors: Tensor) -> Tensor:
    """L2-normalised in float32, rounded to float16 once."""
    return torch.nn.functional.normalize(vectors.float(), dim=-1).to(torch.float16)
