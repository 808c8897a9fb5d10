"""Known-bad hashes: how fast, how large and how complete our index is, beside faiss's binary indexes, each alone in a process with one thread.

Half of the queries have 0 to 31 bits of a listed hash turned, the others are of nothing. Recall is the share of the first whose hash is found.
Besides, the time of a picture's hash, beside pdqhash where that is installed. faiss-cpu, where it is not: pip install faiss-cpu
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "moderation-hashes"))

from moderation_hashes.bands import MATCH_DISTANCE
from moderation_hashes.index import Index, write_index
from moderation_hashes.lists import HashList
from moderation_hashes.pdq import hash_picture

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SEED = 7
PICTURE = (1000, 1600, 3)
Hashes = NDArray[np.uint8]
Search = Callable[[Hashes], Any]  # of one hash: the places of those near it


def _hashes(count: int) -> Hashes:
    return np.frombuffer(np.random.default_rng(SEED).bytes(count * 32), dtype=np.uint8).reshape(count, 32)


def _queries(hashes: Hashes, count: int) -> tuple[Hashes, NDArray[np.int64]]:
    """Near ones, and of which hash each is; then as many of nothing."""
    rng = np.random.default_rng(SEED + 1)
    places = rng.integers(0, len(hashes), count // 2)
    bits = np.unpackbits(hashes[places], axis=1)
    for row in bits:
        row[rng.choice(256, rng.integers(0, MATCH_DISTANCE + 1), replace=False)] ^= 1
    return np.concatenate([np.packbits(bits, axis=1), rng.integers(0, 256, (count // 2, 32), dtype=np.uint8)]), places


def _ours(hashes: Hashes, folder: Path) -> Search:
    write_index([HashList("bad", hashes, "0" * 64)], folder / "known.index")
    index = Index(folder / "known.index")
    index.verify()
    return lambda query: index.near(query.tobytes())[0]


def _faiss(index: Any, hashes: Hashes) -> Search:
    index.add(hashes)
    return lambda query: index.range_search(query[None], MATCH_DISTANCE + 1)[2]


def _flat(hashes: Hashes, _folder: Path) -> Search:
    import faiss

    return _faiss(faiss.IndexBinaryFlat(256), hashes)


def _multi_hash(hashes: Hashes, _folder: Path) -> Search:
    """As pytx and HMA have it: 16 tables of 16 bits, one bit turned, which is complete up to 31."""
    import faiss

    index = faiss.IndexBinaryMultiHash(256, 16, 16)
    index.nflip = 1
    return _faiss(index, hashes)


def _hash(hashes: Hashes, _folder: Path) -> Search:
    """One table of the first 24 bits, two of them turned: quick, and not complete."""
    import faiss

    index = faiss.IndexBinaryHash(256, 24)
    index.nflip = 2
    return _faiss(index, hashes)


ENGINES = {"ours": _ours, "flat": _flat, "multi_hash": _multi_hash, "hash": _hash}


def _measured(engine: str, count: int, queries: int) -> dict[str, float]:
    """One engine in this process; its memory is what it adds to the list itself, which is counted too."""
    hashes = _hashes(count)
    asked, planted = _queries(hashes, queries)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        search = ENGINES[engine](hashes, Path(folder))
        built = time.perf_counter() - began
        search(asked[0])
        seconds, found = [], []
        for query in asked:
            began = time.perf_counter()
            found.append(search(query))
            seconds.append(time.perf_counter() - began)
    recall = np.mean([place in places for place, places in zip(planted, found, strict=False)])
    return {
        "build_seconds": built,
        "median_ms": 1e3 * float(np.median(seconds)),
        "p99_ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "queries_per_second": len(seconds) / sum(seconds),
        "recall": float(recall),
        "megabytes": _resident_megabytes(),
    }


def _resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _hash_ms() -> dict[str, float]:
    picture = np.random.default_rng(SEED).integers(0, 256, PICTURE, dtype=np.uint8)
    ways: dict[str, Callable[[Any], Any]] = {"ours": hash_picture}
    if importlib.util.find_spec("pdqhash"):
        import pdqhash

        ways["pdqhash"] = pdqhash.compute
    found = {}
    for name, way in ways.items():
        seconds = []
        for _ in range(7):
            began = time.perf_counter()
            way(picture)
            seconds.append(time.perf_counter() - began)
        found[name] = 1e3 * min(seconds)
    return found


def _apart(engine: str, count: int, queries: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--engine", engine, "--hashes", str(count), "--queries", str(queries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout)


def main() -> None:
    """Each engine in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hashes", type=int, default=10_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--engine", choices=ENGINES, help="measure this one in this process")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.engine:
        print(json.dumps(_measured(arguments.engine, arguments.hashes, arguments.queries)))
        return
    names = list(ENGINES) if importlib.util.find_spec("faiss") else ["ours"]
    load = os.getloadavg()[0]
    rows = {name: _apart(name, arguments.hashes, arguments.queries) for name in names}
    report = {"hashes": arguments.hashes, "load_before": load, "engines": rows, "hash_ms": _hash_ms()}
    if arguments.json:
        print(json.dumps(report))
        return
    print(f"{arguments.hashes:,} hashes, {arguments.queries} queries, one thread, load {load:.1f} at the start")
    for name, row in rows.items():
        told = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in row.items())
        print(f"{name:10} {told}")
    if len(names) == 1:
        print("faiss is not installed: pip install faiss-cpu")
    told = ", ".join(f"{name} {value:.1f} ms" for name, value in report["hash_ms"].items())
    print(f"the hash of a picture of {PICTURE[1]} by {PICTURE[0]}: {told}")


if __name__ == "__main__":
    main()
