"""What the runner costs a part, by how a detector runs: called directly, trusted, on a thread, in a process; the detector itself does nothing.

Prints microseconds a part, the best of several rounds in which all take their turn, and each as a multiple of the thread's; then what
a process takes to start, and its memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from moderation.detector.base import DetectionBatch, Detector
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.runner import Runner
from moderation.item import Part
from moderation.plugin import manager

PLUGIN = """
import os
from moderation import Modality, Score, hookimpl

class Idle:
    id, labels, modalities, needs_embeddings = "idle", ("risk",), frozenset({Modality.IMAGE, Modality.TEXT}), False
    def detect(self, batch):
        if batch.parts[0].content == b"how large":
            return [(Score("risk", int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e12),)]
        return [(Score("risk", 0.5),) for _ in batch.parts]

@hookimpl
def register_detectors(registry):
    registry.add(Idle())
"""
WAYS = ("direct", "trusted", "thread", "process")


@contextmanager
def _installed(folder: Path) -> Iterator[None]:
    """A plugin as an installation would leave it."""
    information = folder / "idle-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: idle\nVersion: 1\n", encoding="utf-8")
    (information / "entry_points.txt").write_text("[moderation]\nidle = idle_plugin\n", encoding="utf-8")
    (folder / "idle_plugin.py").write_text(PLUGIN, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


def _batches() -> dict[str, DetectionBatch]:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 512)).astype(np.float16)
    texts = tuple(Part.text("a walk in the park " * 10) for _ in range(500))
    return {
        "1 text": DetectionBatch(texts[:1]),
        "32 texts": DetectionBatch(texts[:32]),
        "500 texts": DetectionBatch(texts),
        "500 texts, vectors of 512": DetectionBatch(texts, vectors),
        "32 pictures of 100 kB": DetectionBatch(tuple(Part.image(rng.bytes(100_000)) for _ in range(32))),
    }


def _ways(here: Detector, there: Detector) -> dict[str, Callable[[DetectionBatch], object]]:
    def by(runner: Runner) -> Callable[[DetectionBatch], object]:
        return lambda batch: runner.run({"idle": batch})

    trusted, thread, process = Runner([here], trusted={"idle"}), Runner([here]), Runner([there])
    return dict(zip(WAYS, (here.detect, by(trusted), by(thread), by(process)), strict=True))


def _microseconds(judge: Callable[[DetectionBatch], object], batch: DetectionBatch, calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        judge(batch)
    return 1e6 * (time.perf_counter() - began) / (calls * len(batch))


def _measured(rounds: int, here: Detector, there: Detector) -> dict[str, dict[str, float]]:
    ways = _ways(here, there)
    found: dict[str, dict[str, float]] = {}
    for name, batch in _batches().items():
        calls = max(3, 500 // len(batch))
        taken = [{way: _microseconds(judge, batch, calls) for way, judge in ways.items()} for _ in range(rounds)]
        found[name] = {way: min(one[way] for one in taken) for way in WAYS}
    return found


def _megabytes(detector: Detector) -> float:
    (answer,) = detector.detect(DetectionBatch((Part.text("how large"),)))
    assert isinstance(answer, tuple)
    return answer[0].value * 1e6


def main() -> None:
    """All in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _installed(Path(folder)):
        here = manager.load(("idle",)).detectors["idle"]
        there = manager.load(("idle",), isolated=("idle",)).detectors["idle"]
        assert isinstance(there, IsolatedDetector)
        began = time.perf_counter()
        there.setup()
        start = time.perf_counter() - began
        rows = _measured(arguments.rounds, here, there)
        megabytes = _megabytes(there)
        there.close()
    if arguments.json:
        print(json.dumps({"microseconds_a_part": rows, "start_seconds": start, "megabytes": megabytes}))
        return
    for name, row in rows.items():
        told = ", ".join(f"{way} {row[way]:.2f} ({row[way] / row['thread']:.2f})" for way in WAYS)
        print(f"{name}: us a part (times a thread's): {told}")
    print(f"a process: {start:.2f} s to start, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
