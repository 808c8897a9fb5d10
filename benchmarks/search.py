"""Exact search among a million vectors: how fast and how large ours is, beside numpy's own sort and faiss's exact indexes, each alone in a process with one thread.

Vectors are float16, as they are kept; numpy (`numpy_sort`, the whole of it sorted) and faiss's flat index hold them as float32, `numpy_half` converts some rows at a time, faiss_half is its
flat index of float16. `wrong` counts the rows, of all that queries ask for, that are not those of a double-precision product sorted by similarity, 1e-6 being equal, and by place.
Besides, the same from a folder of Parquet files, read anew each time. faiss-cpu, where it is not: pip install faiss-cpu

    python benchmarks/search.py [--rows 1000000] [--json]
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.history.items import Fact
from moderation.history.search import DECIMALS, Nearest
from moderation.history.vectors import KeptItem, KeptPart, read_parts, write_vectors
from moderation.item import Modality, content_digest

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SEED, WIDTH, TOP, BLOCK, FILE = 5, 512, 12, 32_768, 8_192
IDENTITY = "0" * 32
Half = NDArray[np.float16]
Search = Callable[[Half], NDArray[np.int64]]  # of queries [q, d]: the rows nearest to each, [q, TOP]


def vectors_of(rows: int) -> Half:
    """Unit vectors with neighbours, as pictures have them: around some thousand centres; one in a hundred is a copy of another."""
    rng = np.random.default_rng(SEED)
    centres = rng.standard_normal((2_000, WIDTH)).astype(np.float32)
    made = np.empty((rows, WIDTH), np.float16)
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        some = centres[rng.integers(0, len(centres), count)] + rng.standard_normal((count, WIDTH), np.float32)
        made[first : first + count] = some / np.linalg.norm(some, axis=1, keepdims=True)
    copies = rng.integers(0, rows, (2, rows // 100))
    made[copies[0]] = made[copies[1]]
    return made


def queries_of(vectors: Half, count: int) -> Half:
    """As many queries, somewhere between two of the vectors."""
    rng = np.random.default_rng(SEED + 1)
    a, b = vectors[rng.integers(0, len(vectors), (2, count))].astype(np.float32)
    return ((a + b) / np.linalg.norm(a + b, axis=1, keepdims=True)).astype(np.float16)


def _ours(vectors: Half) -> Search:
    def search(queries: Half) -> NDArray[np.int64]:
        nearest = Nearest(queries, top=TOP)
        for first in range(0, len(vectors), BLOCK):
            nearest.add(vectors[first : first + BLOCK])
        return np.stack([one.rows for one in nearest.rankings])

    return search


def _numpy_sort(vectors: Half) -> Search:
    exact = vectors.astype(np.float32)

    def search(queries: Half) -> NDArray[np.int64]:
        return np.argsort(-(queries.astype(np.float32) @ exact.T), axis=1, kind="stable")[:, :TOP]

    return search


def _numpy_half(vectors: Half) -> Search:
    """What one writes who has no room for float32, and no need of more than the best."""

    def search(queries: Half) -> NDArray[np.int64]:
        asked = queries.astype(np.float32).T
        blocks = [vectors[first : first + BLOCK].astype(np.float32) @ asked for first in range(0, len(vectors), BLOCK)]
        similar = np.concatenate(blocks).T
        best = np.argpartition(-similar, TOP, axis=1)[:, :TOP]
        order = np.argsort(-np.take_along_axis(similar, best, axis=1), axis=1, kind="stable")
        return np.take_along_axis(best, order, axis=1)

    return search


def _faiss(index: Any, vectors: Half) -> Search:
    import faiss

    faiss.omp_set_num_threads(1)
    index.train(vectors[:1].astype(np.float32))
    for first in range(0, len(vectors), BLOCK):
        index.add(vectors[first : first + BLOCK].astype(np.float32))
    return lambda queries: index.search(queries.astype(np.float32), TOP)[1]


def _faiss_flat(vectors: Half) -> Search:
    import faiss

    return _faiss(faiss.IndexFlatIP(WIDTH), vectors)


def _faiss_half(vectors: Half) -> Search:
    import faiss

    kind = faiss.ScalarQuantizer.QT_fp16
    return _faiss(faiss.IndexScalarQuantizer(WIDTH, kind, faiss.METRIC_INNER_PRODUCT), vectors)


ENGINES = {
    "ours": _ours, "numpy_sort": _numpy_sort, "numpy_half": _numpy_half, "faiss_flat": _faiss_flat, "faiss_half": _faiss_half,
}  # fmt: skip


def exactly(vectors: Half, queries: Half) -> NDArray[np.int64]:
    """What is right: every product in double precision, all of them sorted."""
    asked = queries.astype(np.float64).T
    blocks = [vectors[first : first + BLOCK].astype(np.float64) @ asked for first in range(0, len(vectors), BLOCK)]
    similar = np.concatenate(blocks).round(DECIMALS).T
    return np.argsort(-similar, axis=1, kind="stable")[:, :TOP]


def _timed(search: Search, queries: Half) -> tuple[float, NDArray[np.int64]]:
    began = time.perf_counter()
    found = search(queries)
    return time.perf_counter() - began, found


def _measured(engine: str, rows: int, count: int) -> dict[str, float]:
    """One engine in this process: its megabytes are all that the process holds, the float16 vectors among them."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    vectors = vectors_of(rows)
    queries = queries_of(vectors, count)
    began = time.perf_counter()
    search = ENGINES[engine](vectors)
    built = time.perf_counter() - began
    megabytes = _resident_megabytes()
    search(queries[:1])
    alone = [_timed(search, query[None]) for query in queries]
    together, found = _timed(search, queries)
    right = exactly(vectors, queries)
    one_by_one = np.concatenate([rows for _, rows in alone])
    return {
        "build_seconds": built,
        "median_ms": 1e3 * float(np.median([seconds for seconds, _ in alone])),
        "together_ms_each": 1e3 * together / count,
        "wrong": int((found != right).sum() + (one_by_one != right).sum()),
        "megabytes": megabytes,
    }


def _resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _from_files(rows: int) -> dict[str, float]:
    """One query over a folder that `moderation policy embed` could have written, each time from the files."""
    vectors = vectors_of(rows)
    queries = queries_of(vectors, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, first in enumerate(range(0, rows, FILE)):
            block = vectors[first : first + FILE]
            write_vectors(folder / f"{number:05}.parquet", list(_items(first, len(block))), block, identity=IDENTITY, numeric="made-up")  # fmt: skip
        seconds = []
        for query in queries:
            began = time.perf_counter()
            nearest = Nearest(query[None], top=TOP)
            for batch in read_parts([folder], Modality.IMAGE, identity=IDENTITY, width=WIDTH):
                nearest.add(batch.vectors)
            seconds.append(time.perf_counter() - began)
        assert nearest.rankings[0].rows.tolist() == exactly(vectors, queries[-1:])[0].tolist()
        size = sum(one.stat().st_size for one in folder.iterdir()) / 1e6
    return {"median_ms": 1e3 * float(np.median(seconds)), "megabytes_of_files": size}


def _items(first: int, count: int) -> Iterator[KeptItem]:
    for place in range(first, first + count):
        part = KeptPart(Modality.IMAGE, content_digest(str(place).encode()))
        yield KeptItem(Fact(f"pictures/{place:07}.jpg"), (part,))


def _apart(engine: str, rows: int, queries: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--engine", engine, "--rows", str(rows), "--queries", str(queries)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
    return json.loads(done.stdout)


def main() -> None:
    """Each engine in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=16)
    parser.add_argument("--engine", choices=[*ENGINES, "files"], help="measure this one in this process")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.engine:
        files = arguments.engine == "files"
        found = _from_files(arguments.rows) if files else _measured(arguments.engine, arguments.rows, arguments.queries)
        print(json.dumps(found))
        return
    names = [name for name in ENGINES if not name.startswith("faiss") or importlib.util.find_spec("faiss")]
    load = os.getloadavg()[0]
    rows = {name: _apart(name, arguments.rows, arguments.queries) for name in names}
    files = _apart("files", arguments.rows, arguments.queries)
    report = {"rows": arguments.rows, "width": WIDTH, "top": TOP, "load_before": load, "engines": rows, "files": files}
    if arguments.json:
        print(json.dumps(report))
        return
    print(f"{arguments.rows:,} vectors of {WIDTH}, the nearest {TOP}, one thread, load {load:.1f} at the start")
    for name, row in {**rows, "ours, from files": files}.items():
        told = ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in row.items())
        print(f"{name:16} {told}")
    if not any(name.startswith("faiss") for name in names):
        print("faiss is not installed: pip install faiss-cpu")


if __name__ == "__main__":
    main()
