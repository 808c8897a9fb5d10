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
    decide = best(lambda: score_many(heads, vectors), options.repeats)
    plain = best(lambda: convert_and_multiply(heads, vectors, cores, cast=numpy_cast), options.repeats)
    fast = best(lambda: convert_and_multiply(heads, vectors, cores, cast=to_float32), options.repeats)
    few = min(NAIVE_ROWS, options.rows)
    naive = [one * options.rows / few for one in best(lambda: row_by_row(heads, vectors[:few]), 1)]
    found: dict[str, float] = {
        "rows": options.rows,
        "width": WIDTH,
        "policies": len(heads),
        "phrases": sum(map(sum, PHRASES)),
        "cores": cores,
        "load": os.getloadavg()[0],
    }
    for at, clock in enumerate(("wall", "cpu")):
        found |= {
            f"decide_{clock}_seconds": decide[at],
            f"numpy_convert_and_multiply_{clock}_seconds": plain[at],
            f"fast_convert_and_multiply_{clock}_seconds": fast[at],
            f"row_by_row_{clock}_seconds_extrapolated": naive[at],
            f"rate_of_numpy_convert_and_multiply_{clock}": plain[at] / decide[at],
            f"rate_of_fast_convert_and_multiply_{clock}": fast[at] / decide[at],
            f"times_row_by_row_{clock}": naive[at] / decide[at],
        }
    report(options, found)


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


def best(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """The shortest of several runs, in seconds on the wall and of all cores; the second hardly minds a busy machine."""
    times = []
    for _ in range(repeats):
        began, spent = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - began, time.process_time() - spent))
    wall, cpu = zip(*times, strict=True)
    return min(wall), min(cpu)


def numpy_cast(block: np.ndarray, out: np.ndarray) -> None:
    """Numpy's own conversion."""
    np.copyto(out, block)


def convert_and_multiply(
    heads: list[Head], vectors: np.ndarray, cores: int, *, cast: Callable[[np.ndarray, np.ndarray], None]
) -> None:
    """The floor: every vector to float32 and its products with all phrases, in the fastest shape found here, no more."""
    strips = np.concatenate([head.strips for head in heads])

    def span(start: int) -> None:
        buffer = np.empty((BLOCK, WIDTH), np.float32)
        tiles = buffer.reshape(-1, TILE_ROWS, WIDTH)
        out = np.empty((len(tiles), TILE_ROWS, strips.shape[2]), np.float32)
        for first in range(start, min(start + step, len(vectors)), BLOCK):
            block = vectors[first : first + BLOCK]
            cast(block, buffer[: len(block)])
            for strip in strips:
                np.matmul(tiles, strip, out=out)

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
