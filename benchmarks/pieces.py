"""A batch of a larger tower on a CPU: in pieces side by side, each on one thread, as an encoder runs it; and whole, on all threads. By turns, in one process.

A CLIP ViT-B/32 with random weights, float32, on pixels that are there. `--busy` are how many processes compute meanwhile.

    python benchmarks/pieces.py [--rounds 5] [--busy 0 1] [--sizes 1 2 4 8 16 32] [--threads 2] [--json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from benchmarks.encode import lean, random_clip
from moderation.encoder.lane import CpuLane
from moderation.encoder.tokens import BATCH_BUCKETS

ROWS = 8  # of a way and round, at least


def compute() -> None:
    """What else a machine may do."""
    while True:
        sum(range(1_000_000))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that compute."""
    others = [multiprocessing.get_context("spawn").Process(target=compute, daemon=True) for _ in range(count)]
    for one in others:
        one.start()
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.join()


def rate(run: Callable[[], Any], rows: int) -> float:
    """Rows a second."""
    began, times = time.perf_counter(), max(1, ROWS // rows)
    for _ in range(times):
        run()
    return rows * times / (time.perf_counter() - began)


@torch.inference_mode()
def measured(sizes: Sequence[int], rounds: int, threads: int) -> dict[str, Any]:
    """By rows of a batch, the median of each way, and of the ratios of both in one round."""
    torch.set_num_threads(threads)
    tower = lean(random_clip(), torch.float32)
    pieces, pixels = CpuLane(threads=threads), torch.randn(max(sizes), 3, 224, 224)

    def both(rows: int) -> tuple[float, float]:
        batch = pixels[:rows]
        return rate(lambda: tower(batch), rows), rate(lambda: pieces.submit(tower, batch)().size, rows)

    both(sizes[0])
    found = {rows: [both(rows) for _ in range(rounds)] for rows in sizes}
    return {
        str(rows): {
            "whole": round(statistics.median(one for one, _ in row), 2),
            "pieces": round(statistics.median(other for _, other in row), 2),
            "ratio": round(statistics.median(other / one for one, other in row), 2),
        }
        for rows, row in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--sizes", type=int, nargs="+", default=BATCH_BUCKETS)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {"threads": options.threads, "load_before": round(os.getloadavg()[0], 1)}
    for count in options.busy:
        with busy(count):
            found[f"beside {count}"] = measured(options.sizes, options.rounds, options.threads)
    if options.json:
        print(json.dumps(found))
        return
    for count in options.busy:
        print(f"beside {count} processes that compute, {options.threads} threads: rows a second")
        for rows, row in found[f"beside {count}"].items():
            print(
                f"{rows:>4} rows: whole {row['whole']:7.2f}, in pieces {row['pieces']:7.2f}, pieces / whole {row['ratio']:.2f}"
            )


if __name__ == "__main__":
    main()
