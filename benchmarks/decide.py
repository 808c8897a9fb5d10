"""How long three policies take over a million cached vectors, beside what converting and multiplying alone costs here.

    python benchmarks/decide.py [--rows 1000000] [--json]

All figures come from one run on one machine; the ratios travel, the seconds do not. `load` says how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from moderation.detector.head import TILE_ROWS, Head, score_many, to_float32

WIDTH = 512
PHRASES = ((12, 20), (8, 16), (20, 30))
NAIVE_ROWS = 2_000
BLOCK = 16 * TILE_ROWS


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    heads = [make_head(rng, *counts) for counts in PHRASES]
    vectors = np.tile(unit(rng, 50_000).astype(np.float16), (-(-options.rows // 50_000), 1))[: options.rows]
    cores = len(os.sched_getaffinity(0))
    ours = best(lambda: score_many(heads, vectors), options.repeats)
    plain = best(lambda: convert_and_multiply(heads, vectors, cores, cast=numpy_cast), options.repeats)
    fast = best(lambda: convert_and_multiply(heads, vectors, cores, cast=to_float32), options.repeats)
    few = min(NAIVE_ROWS, options.rows)
    naive = best(lambda: row_by_row(heads, vectors[:few]), 1) * options.rows / few
    report(
        options,
        {
            "rows": options.rows,
            "width": WIDTH,
            "policies": len(heads),
            "phrases": sum(map(sum, PHRASES)),
            "cores": cores,
            "load": os.getloadavg()[0],
            "decide_seconds": ours,
            "numpy_convert_and_multiply_seconds": plain,
            "fast_convert_and_multiply_seconds": fast,
            "rate_of_numpy_convert_and_multiply": plain / ours,
            "rate_of_fast_convert_and_multiply": fast / ours,
            "row_by_row_seconds_extrapolated": naive,
            "times_row_by_row": naive / ours,
        },
    )


def report(options: argparse.Namespace, found: dict[str, float]) -> None:
    """The figures for people or machines."""
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):40} {value:,.2f}" if isinstance(value, float) else f"{name:40} {value:,}")


def make_head(rng: np.random.Generator, violating: int, contrast: int) -> Head:
    """An L1 head over random phrases: the shape is what takes time."""
    count = violating + contrast
    gain, offset = rng.uniform(20, 40, count), rng.normal(0, 0.02, count)
    return Head("L1", unit(rng, violating), unit(rng, contrast), gain, offset, 0.5, floor=1.0)


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Random unit vectors, float32."""
    vectors = rng.standard_normal((rows, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def best(work: Callable[[], object], repeats: int) -> float:
    """The shortest of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def numpy_cast(block: np.ndarray, out: np.ndarray) -> None:
    """Numpy's own conversion."""
    np.copyto(out, block)


def convert_and_multiply(
    heads: list[Head], vectors: np.ndarray, cores: int, *, cast: Callable[[np.ndarray, np.ndarray], None]
) -> None:
    """The floor: every vector to float32 and one product with all phrases, nothing else, in the fastest shape found here."""
    phrases = np.ascontiguousarray(
        np.concatenate([part for head in heads for part in (head.violating, head.contrast)]).T
    )

    def span(start: int) -> None:
        buffer = np.empty((BLOCK, WIDTH), np.float32)
        for first in range(start, min(start + step, len(vectors)), BLOCK):
            block = vectors[first : first + BLOCK]
            cast(block, buffer[: len(block)])
            np.matmul(buffer.reshape(-1, TILE_ROWS, WIDTH), phrases)

    step = -(-len(vectors) // (8 * cores * BLOCK)) * BLOCK
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(span, range(0, len(vectors), step)))


def row_by_row(heads: list[Head], vectors: np.ndarray) -> None:
    """What a first version does: one vector, one policy, one product at a time."""
    for vector in vectors:
        for head in heads:
            x = vector.astype(np.float32)
            weighed = head.gain * (np.concatenate([head.violating, head.contrast]) @ x - head.offset)
            split = len(head.violating)
            powers = np.exp(head.sharpness * weighed)
            margin = np.log(powers[:split].mean() / (powers[split:].mean() + head.floor)) / head.sharpness
            round(float(1.0 / (1.0 + np.exp(-(margin - head.centre) / head.scale))), 6)
            int(weighed[:split].argmax())


if __name__ == "__main__":
    main()
