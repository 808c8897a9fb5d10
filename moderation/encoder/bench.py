"""How fast an encoder is here, stage by stage, and what share of this machine's own matrix rate its towers reach."""

from __future__ import annotations

import io
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from moderation.encoder import images
from moderation.encoder.base import Encoder
from moderation.encoder.clip import ImageSide, TextSide, TorchEncoder
from moderation.encoder.preprocess import fit, jpeg_scale, normalise
from moderation.encoder.tokens import length_bucket
from moderation.errors import EncoderError

Run = Callable[[], Any]
Clock = Callable[[], float]

REPEATS = 4  # of a product in one run
_SQUARES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}
_PHOTOS = 8
TEXTS = (
    "a photo of a thing that somebody offers for sale near you",
    "as good as new, please call",
    "two kitchen knives on a wooden table",
    "what a lovely day, see you there",
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage's median rate, in items a second; `share` is that of the matrix rate of the same round, for towers whose work can be counted."""

    modality: str
    name: str
    batch: int
    rate: float
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured: the stages of one encoder, and the machine's matrix rate in GFLOP/s."""

    encoder: str
    numeric: str
    threads: int
    rounds: int
    matrix_gflops: float
    stages: tuple[Stage, ...]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, ready for JSON."""
        return {"schema": "bench-encode/v1", **asdict(self)}


@dataclass(frozen=True, slots=True)
class _Case:
    """What is run in every round: so many items, and how much arithmetic one of them is where that is known."""

    modality: str
    name: str
    batch: int
    run: Run
    items: int
    flops: float = 0.0


def measure(
    encoder: Encoder, *, batches: Sequence[int] | None = None, rounds: int = 5, clock: Clock = time.perf_counter
) -> Result:
    """Every stage in every round, one after another, so that a busy machine slows them alike; what is told are medians.

    decode and resize: one thread. prepare: both, on all threads that decode. tower: from pixels or ids, so many at a time. whole: from the
    bytes of 640x480 JPEGs, or from texts, to vectors. Raises EncoderError for an encoder that does not run on our towers, and for a batch
    that is none of the sizes they run.
    """
    if not isinstance(encoder, TorchEncoder):
        raise EncoderError(f"encoder {encoder.card.name!r} has no stages to measure: it is its plugin's own")
    sizes = encoder.lane.buckets
    batches = batches or (sizes[0], 8, sizes[-1])
    if wrong := sorted(set(batches) - set(sizes)):
        raise EncoderError(f"a batch of {wrong[0]}; the towers run {', '.join(map(str, sizes))}")
    cases = [*_of_pictures(encoder, batches), *_of_texts(encoder, batches)]
    dtype = torch.bfloat16 if "bfloat16" in encoder.fingerprint.numeric else torch.float32
    products = {side: product((side,) * 3, dtype, encoder.device) for side in _SQUARES[encoder.device.type]}
    runs: dict[Any, Run] = {**products, **{(one.modality, one.name, one.batch): one.run for one in cases}}
    seconds = rounds_of(runs, rounds, clock)
    matrix = [matrix_rate(row, {side: (side,) * 3 for side in products}) for row in seconds]
    return Result(
        encoder.card.name,
        encoder.fingerprint.numeric,
        torch.get_num_threads(),
        rounds,
        round(statistics.median(matrix) / 1e9, 1),
        tuple(_stage(one, [row[one.modality, one.name, one.batch] for row in seconds], matrix) for one in cases),
    )


def _stage(case: _Case, seconds: Sequence[float], matrix: Sequence[float]) -> Stage:
    rate = statistics.median(case.items / one for one in seconds)
    shares = [case.flops * case.items / one / whole for one, whole in zip(seconds, matrix, strict=True)]
    share = round(statistics.median(shares), 3) if case.flops else None
    return Stage(case.modality, case.name, case.batch, float(f"{rate:.4g}"), share)


def _of_pictures(encoder: TorchEncoder, batches: Sequence[int]) -> Iterator[_Case]:
    side = encoder.image
    if side is None:
        return
    files, card, limits = photographs(_PHOTOS), side.card, encoder.limits
    fast = encoder.pixels == "fast"
    scales = [jpeg_scale(images.check(file, limits), card) if fast else 1 for file in files]

    def decode() -> list[Image.Image]:
        return [images.decode(file, limits, scale=scale) for file, scale in zip(files, scales, strict=True)]

    decoded = decode()
    yield _Case("image", "decode", 1, decode, _PHOTOS)
    yield _Case("image", "resize", 1, lambda: [fit(one, card, encoder.pixels) for one in decoded], _PHOTOS)
    yield _Case("image", "prepare", _PHOTOS, lambda: encoder.prepared(files), _PHOTOS)
    pixels = torch.from_numpy(np.stack([fit(one, card, encoder.pixels) for one in decoded]))
    work = _flops(lambda: side.tower(normalise(pixels[:1].to(encoder.device), card)))
    for batch in batches:
        yield _Case("image", "tower", batch, _run(encoder, side, (_filled(pixels, batch),)), batch, work)
    for batch in batches:
        contents = list(islice(cycle(files), batch))
        yield _Case("image", "whole", batch, lambda contents=contents: encoder.encode_images(contents), batch)  # type: ignore[misc]


def _of_texts(encoder: TorchEncoder, batches: Sequence[int]) -> Iterator[_Case]:
    side = encoder.text
    if side is None:
        return
    ids = side.tokenizer.tokens(TEXTS[0])
    length = length_bucket(len(ids), side.tokenizer.card)
    rows = torch.full((1, length), side.tokenizer.padding_id, dtype=torch.int64)
    rows[0, : len(ids)] = torch.tensor(ids)
    mask = torch.zeros_like(rows)
    mask[0, : len(ids)] = 1
    work = _flops(lambda: side.tower(rows.to(encoder.device), mask.to(encoder.device)))
    for batch in batches:
        filled = _filled(rows, batch), _filled(mask, batch)
        yield _Case("text", "tower", batch, _run(encoder, side, filled), batch, work)
    for batch in batches:
        contents = list(islice(cycle(TEXTS), batch))
        yield _Case("text", "whole", batch, lambda contents=contents: encoder.encode_text(contents), batch)  # type: ignore[misc]


def _run(encoder: TorchEncoder, side: ImageSide | TextSide, batch: Sequence[torch.Tensor]) -> Run:
    def run() -> None:
        encoder.lane.submit(side, *batch)()

    return run


def _filled(rows: torch.Tensor, count: int) -> torch.Tensor:
    return rows[torch.arange(count) % len(rows)].contiguous()


@torch.inference_mode()
def _flops(run: Run) -> float:
    """The multiplications and additions of one run; 0 where a tower is none of torch's."""
    aten = torch.ops.aten  # the second of these is unknown to the counter of the oldest torch
    known = {aten.addmm_: _added_in_place, aten._scaled_dot_product_flash_attention_for_cpu: _attended}  # noqa: SLF001 - as torch calls it
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        run()
    return float(counter.get_total_flops())


def _attended(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _added_in_place(_: Any, left: Sequence[int], right: Sequence[int], *__: Any, **___: Any) -> int:
    """The work of `x.addmm_(left, right)`, by shapes; torch counts only the form that is not in place."""
    return 2 * left[0] * left[1] * right[1]


def photographs(count: int) -> list[bytes]:
    """JPEG files of 640 x 480 pixels, quality 90, with smooth fields and texture; about the size of a photograph's."""
    random, files = np.random.default_rng(0), []
    y, x = np.mgrid[0:480, 0:640]
    for _ in range(count):
        waves = [np.sin(x / random.uniform(5, 80) + y / random.uniform(5, 80) + random.uniform(0, 6)) for _ in range(3)]
        values = 127 + 90 * np.stack(waves, axis=-1) + random.normal(0, 6, (480, 640, 3))
        out = io.BytesIO()
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def product(shape: tuple[int, int, int], dtype: torch.dtype, device: torch.device) -> Run:
    """One matrix product, REPEATS times over."""
    rows, inner, columns = shape
    left, right = (torch.randn(*one).to(device, dtype) for one in ((rows, inner), (inner, columns)))

    def run() -> None:
        for _ in range(REPEATS):
            left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return run


def matrix_rate(seconds: Mapping[Any, float], shapes: Mapping[Any, tuple[int, int, int]]) -> float:
    """The best rate of a round's products, in FLOP a second."""
    return max(REPEATS * 2 * math.prod(shape) / seconds[name] for name, shape in shapes.items())


def rounds_of(runs: Mapping[Any, Run], count: int, clock: Clock) -> list[dict[Any, float]]:
    """Seconds of each run in each round, after one round that is not counted."""
    seconds = []
    for _ in range(count + 1):
        one = {}
        for name, run in runs.items():
            began = clock()
            run()
            one[name] = clock() - began
        seconds.append(one)
    return seconds[1:]
