"""What plugins cost: a part, by how a detector runs; the others, where one hangs; and memory, where ten of them see one encoder's vectors.

Prints microseconds a part for a detector that does nothing, called directly, trusted, on a thread and in a process, the best of several rounds in
which all take their turn, and each as a multiple of the direct call; what a process takes to start, and its memory; how long a batch takes
whose other detector hangs, at each deadline; and how much memory the encoder takes that ten detectors share, and how much they and their vectors do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from moderation import Modality, Score
from moderation.detector.base import DetectionBatch, Detector
from moderation.detector.isolated import IsolatedDetector
from moderation.detector.runner import Runner
from moderation.item import Part
from moderation.plugin import manager
from moderation.plugin_sections import DetectorSettings

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
DEADLINES = (0.1, 0.5, 2.0)  # seconds
SHARING = 10  # detectors that see the vectors of one encoder


class _Sees:
    """Looks at every vector, and keeps none."""

    labels, modalities, needs_embeddings = ("risk",), frozenset({Modality.TEXT}), True

    def __init__(self, number: int) -> None:
        self.id = f"sees-{number}"

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        assert batch.embeddings is not None
        return [(Score("risk", min(1.0, abs(float(row[0])))),) for row in batch.embeddings]


class _Hangs(_Sees):
    needs_embeddings = False

    def __init__(self, let_go: threading.Event) -> None:
        self.id, self._let_go = "hangs", let_go

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        self._let_go.wait()
        return [(Score("risk", 0.0),)] * len(batch)


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


def _delays() -> dict[str, float]:
    """By deadline, the longest that a batch took, of those whose other detector hung."""
    found = {}
    for seconds in DEADLINES:
        let_go = threading.Event()
        others = [_Hangs(let_go), *map(_Quick, range(3))]
        runner = Runner(others, settings=DetectorSettings(timeout_seconds=seconds, faults_before_quarantine=1000))
        batch, taken = DetectionBatch((Part.text("one"),)), []
        for _ in range(3):
            began = time.perf_counter()
            answers = runner.run({one.id: batch for one in others})
            taken.append(time.perf_counter() - began)
            assert all(isinstance(answers[one.id][0], tuple) for one in others[1:])
        let_go.set()
        found[f"{seconds:g}"] = max(taken)
    return found


class _Quick(_Sees):
    needs_embeddings = False

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        return [(Score("risk", 0.5),)] * len(batch)


def _resident() -> float:
    """Megabytes that this process holds now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _sharing() -> dict[str, float]:
    """Megabytes that came with the encoder, with one detector that sees its vectors, and with nine more."""
    from moderation import assemble
    from moderation.settings import Settings

    before = _resident()
    encoder = assemble.encoder(Settings())
    texts = [f"a walk in the park, number {number}" for number in range(256)]
    vectors = encoder.encode_text(texts).vectors
    found = {"encoder": _resident() - before}
    batch = DetectionBatch(tuple(map(Part.text, texts)), vectors)
    for count in (1, SHARING):
        before = _resident()
        sharing = [_Sees(number) for number in range(count)]
        answers = Runner(sharing).run({one.id: batch for one in sharing})
        assert all(isinstance(one[0], tuple) for one in answers.values())
        found[f"{count} detectors"] = _resident() - before
    return found


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
    delays, sharing = _delays(), _sharing()
    if arguments.json:
        told = {"microseconds_a_part": rows, "start_seconds": start, "megabytes": megabytes}
        print(json.dumps({**told, "seconds_beside_one_that_hangs": delays, "megabytes_by_sharing": sharing}))
        return
    for name, row in rows.items():
        told = ", ".join(f"{way} {row[way]:.2f} ({row[way] / row['direct']:.1f})" for way in WAYS)
        print(f"{name}: us a part (times a direct call's): {told}")
    print(f"a process: {start:.2f} s to start, {megabytes:.0f} MB")
    for deadline, seconds in delays.items():
        print(f"beside one that hangs, deadline {deadline} s: a batch takes {seconds:.3f} s at most")
    print(f"MB: {', '.join(f'{what} {megabytes:.1f}' for what, megabytes in sharing.items())}")


if __name__ == "__main__":
    main()
