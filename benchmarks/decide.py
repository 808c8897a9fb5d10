"""How long three policies take to decide a million cached vectors, beside converting and multiplying alone.

Deciding is the score under each policy, its cuts, and the strongest action of each row; vectors to the actions' places
in the order of force, no Decision objects. Before anything is timed, the actions are compared with policy/decide.py's.
The row-by-row loop runs a few rows, and its time is extrapolated to all of them.

    python benchmarks/decide.py [--rows 1000000] [--json]

Every round runs all of them one after another, so that a busy machine slows them alike: seconds are the shortest of the
rounds, ratios the median of the ratios within a round. The ratios travel, the seconds do not. `load` says how busy the
machine was, and wall seconds near those of the processor say that it left only one core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from moderation.decision import Score, Severity
from moderation.detector.head import DECIMALS, Head, Scored, score_many
from moderation.detector.tiles import TILE_ROWS, to_float32
from moderation.policy.decide import Cut, Finding, Terms, judge, strongest

ACTIONS = ("allow", "label", "limit", "review", "remove")
WIDTH = 512
PHRASES = ((12, 20), (8, 16), (20, 30))
# Each policy's cuts are placed so that this share of the vectors reaches them.
SHARES = ({"review": 0.02, "label": 0.10}, {"remove": 0.005, "review": 0.01, "limit": 0.05}, {"review": 0.03})
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
    policies = make_cuts(heads, vectors[:50_000])
    cores, few = len(os.sched_getaffinity(0)), min(NAIVE_ROWS, options.rows)
    check(heads, policies, vectors[:few])
    rounds = rounds_of(
        {
            "decide": lambda: actions_of(score_many(heads, vectors), policies),
            "numpy_convert_and_multiply": lambda: convert_and_multiply(heads, vectors, cores, cast=numpy_cast),
            "fast_convert_and_multiply": lambda: convert_and_multiply(heads, vectors, cores, cast=to_float32),
            "row_by_row": lambda: row_by_row(heads, policies, vectors[:few]),
        },
        options.repeats,
    )
    for one in rounds:
        one["row_by_row"] *= options.rows / few
    found: dict[str, float] = {
        "rows": options.rows,
        "width": WIDTH,
        "policies": len(heads),
        "phrases": sum(map(sum, PHRASES)),
        "cuts": sum(map(len, policies)),
        "row_by_row_rows": few,
        "cores": cores,
        "load": os.getloadavg()[0],
    }
    for at, clock in enumerate(("wall", "cpu")):
        seconds = {name: [float(one[name][at]) for one in rounds] for name in rounds[0]}
        over = {name: statistics.median(np.divide(seconds[name], seconds["decide"])) for name in seconds}
        found |= {
            f"decide_{clock}_seconds": min(seconds["decide"]),
            f"numpy_convert_and_multiply_{clock}_seconds": min(seconds["numpy_convert_and_multiply"]),
            f"fast_convert_and_multiply_{clock}_seconds": min(seconds["fast_convert_and_multiply"]),
            f"row_by_row_{clock}_seconds_extrapolated": min(seconds["row_by_row"]),
            f"rate_of_numpy_convert_and_multiply_{clock}": float(over["numpy_convert_and_multiply"]),
            f"rate_of_fast_convert_and_multiply_{clock}": float(over["fast_convert_and_multiply"]),
            f"times_row_by_row_{clock}": float(over["row_by_row"]),
        }
    report(options, found)


def report(options: argparse.Namespace, found: dict[str, float]) -> None:
    """The figures for people or machines."""
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name.replace('_', ' '):44} {value:{',.2f' if isinstance(value, float) else ','}}")
    print(f"row by row was timed on {found['row_by_row_rows']:,} rows; its seconds are extrapolated to all rows")


def make_head(rng: np.random.Generator, violating: int, contrast: int) -> Head:
    """An L1 head over random phrases: the shape is what takes time."""
    count = violating + contrast
    gain, offset = rng.uniform(20, 40, count), rng.normal(0, 0.02, count)
    return Head("L1", unit(rng, violating), unit(rng, contrast), gain, offset, 0.5, floor=1.0)


def make_cuts(heads: list[Head], vectors: np.ndarray) -> list[list[Cut]]:
    """Each policy's cuts, where its share of these vectors begins."""
    scores = [scored.values for scored in score_many(heads, vectors)]
    return [
        [Cut(action, round(float(np.quantile(values, 1 - share)), DECIMALS)) for action, share in shares.items()]
        for values, shares in zip(scores, SHARES, strict=True)
    ]


def actions_of(scored: list[Scored], policies: list[list[Cut]]) -> np.ndarray:
    """For each row the place of its strongest action, int8 [n]; 0 where no cut of any policy fires.

    What policy/decide.py does for one item of one part, at epsilon 0: deciding where the lock was certified.
    """
    found = np.zeros(len(scored[0].values), np.int8)
    for one, cuts in zip(scored, policies, strict=True):
        for cut in cuts:
            fires = np.multiply(one.values >= cut.threshold, np.int8(ACTIONS.index(cut.action)), dtype=np.int8)
            np.maximum(found, fires, out=found)
    return found


def check(heads: list[Head], policies: list[list[Cut]], vectors: np.ndarray) -> None:
    """Stops where an action is not the one that policy/decide.py gives for the same scores."""
    scored = score_many(heads, vectors)
    places = actions_of(scored, policies)
    for row, place in enumerate(places):
        verdicts = [
            judge(terms(number, cuts), [Finding("0", Score("", float(one.values[row])))], parts=1, order=ACTIONS)
            for number, (one, cuts) in enumerate(zip(scored, policies, strict=True))
        ]
        expected, _ = strongest(verdicts, ACTIONS)
        if ACTIONS[place] != expected:
            raise SystemExit(f"row {row}: the action is {ACTIONS[place]}, policy/decide.py says {expected}")


def terms(number: int, cuts: list[Cut]) -> Terms:
    """What `judge` wants to know of a policy."""
    return Terms(str(number), "1.0.0", "", "draft", Severity.HIGH, on_error="review", cuts=tuple(cuts), max_parts=1)


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Random unit vectors, float32."""
    vectors = rng.standard_normal((rows, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def rounds_of(runs: dict[str, Callable[[], object]], repeats: int) -> list[dict[str, np.ndarray]]:
    """Seconds on the wall and of all cores, of each run in each round; the second hardly minds a busy machine."""
    rounds = []
    for _ in range(repeats):
        one = {}
        for name, work in runs.items():
            began, spent = time.perf_counter(), time.process_time()
            work()
            one[name] = np.array([time.perf_counter() - began, time.process_time() - spent])
        rounds.append(one)
    return rounds


def numpy_cast(block: np.ndarray, out: np.ndarray) -> None:
    """Numpy's own conversion."""
    np.copyto(out, block)


def convert_and_multiply(
    heads: list[Head], vectors: np.ndarray, cores: int, *, cast: Callable[[np.ndarray, np.ndarray], None]
) -> None:
    """The floor: every vector to float32 and its products with all phrases, in the fastest shape found here, no more."""
    strips = np.concatenate([head.strips for head in heads])

    def span(start: int) -> None:
        buffer = np.zeros((BLOCK, WIDTH), np.float32)
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


def row_by_row(heads: list[Head], policies: list[list[Cut]], vectors: np.ndarray) -> None:
    """What a first version does: one vector, one policy, one product, one cut at a time."""
    phrases = [np.concatenate([head.violating, head.contrast]) for head in heads]
    for vector in vectors:
        action = 0
        for head, rows, cuts in zip(heads, phrases, policies, strict=True):
            x = vector.astype(np.float32)
            weighed = head.gain * (rows @ x - head.offset)
            split = len(head.violating)
            powers = np.exp(head.sharpness * weighed)
            margin = np.log(powers[:split].mean() / (powers[split:].mean() + head.floor)) / head.sharpness
            score = round(float(1.0 / (1.0 + np.exp(-(margin - head.centre) / head.scale))), DECIMALS)
            int(weighed[:split].argmax())
            for cut in cuts:
                if score >= cut.threshold:
                    action = max(action, ACTIONS.index(cut.action))


if __name__ == "__main__":
    main()
