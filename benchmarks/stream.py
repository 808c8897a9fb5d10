"""How fast the worker is beside others on the same broker: texts that the cache knows, pictures that nobody has seen, peers, and what exactly-once costs.

Every loop is one process that works off the same input; the broker's clock on what comes out says how fast, after the first 30 %. All take turns, round after round,
so that a busy machine slows them alike; what is told are medians, and the medians of ratios within a round. Peers run in an interpreter of their own, where
there is one (`make bench` makes it).

    python benchmarks/stream.py [--rounds 3] [--texts 12000] [--pictures 600] [--peers build/peers/bin/python] [--json]
    python benchmarks/stream.py --long [--records 1000000]     # the worker's memory, at even marks
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loops import pictures, worker
from benchmarks.loops.crew import Crew
from benchmarks.loops.field import Field, Progress, Run
from benchmarks.loops.plain import Job
from tests.services.lease import lease

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "policies" / "fire.lock.json"
WARM_UP, LONGEST, BATCH = 0.3, 10.0, 32
TEXTS = {
    "bare": "kafka-python: copy, flush, commit",
    "bare_transactions": "kafka-python: copy, in transactions of 500",
    "ours": "our worker, exactly once, vectors in memory",
    "ours_at_least_once": "our worker, at least once, vectors in memory",
    "ours_redis": "our worker, exactly once, every vector from Redis",
    "plain": "kafka-python: the peers' function, in transactions of 500",
    "quix": "quix-streams: the peers' function, exactly once",
    "quix_at_least_once": "quix-streams: the peers' function, at least once",
    "faststream": "faststream: the peers' function, a record a call",
    "faststream_batch": "faststream: the peers' function, a batch a call",
}
PICTURES = {
    "ceiling": "the same encoder over the same bytes, without Kafka",
    "cold": "our worker, nothing in the cache",
    "hits": "our worker, every vector in memory",
    "transformers": "kafka-python and transformers, a picture a call",
    "transformers_batch": f"kafka-python and transformers, {BATCH} pictures a call",
}
PEERS = ("quix", "quix_at_least_once", "faststream", "faststream_batch")
# Which rate is divided by which, and what is aimed at.
RATIOS: dict[str, tuple[str, str, float | None]] = {
    "hits_of_bare_transactions": ("ours", "bare_transactions", 0.5),
    "hits_at_least_once_of_bare": ("ours_at_least_once", "bare", 0.5),
    "redis_of_memory": ("ours_redis", "ours", None),
    "exactly_once_of_at_least_once": ("ours", "ours_at_least_once", None),
    "cold_of_ceiling": ("cold", "ceiling", 0.9),
    "hits_of_cold": ("hits", "cold", None),
    "transformers_of_cold": ("transformers", "cold", None),
    "transformers_batch_of_cold": ("transformers_batch", "cold", None),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share."""

    folder: Path
    kafka: str
    redis: str
    peers: str

    def command(self, name: str, run: Run) -> list[str]:
        """How this loop is started."""
        if name in PEERS:
            job = Job(self.kafka, run.input, run.output, run.group, work="judge")
            return [self.peers, "-m", "benchmarks.loops.peers", name, job.to_json()]
        if name in {"ours", "ours_at_least_once", "ours_redis"}:
            delivery = "at_least_once" if name == "ours_at_least_once" else "exactly_once"
            redis = self.redis if name == "ours_redis" else ""
            return _worker(worker.settings(self.folder, run, self.kafka, redis=redis, delivery=delivery))
        if name in {"cold", "hits"}:
            return _worker(worker.settings(self.folder, run, self.kafka, lock=LOCK))
        loop = "at_least_once" if name in {"bare", "transformers", "transformers_batch"} else "tutorial"
        works = {"plain": "judge", "transformers": name, "transformers_batch": name}
        size = BATCH if name.startswith("transformers") else 500
        job = Job(self.kafka, run.input, run.output, run.group, work=works.get(name, "copy"), poll_records=size)
        return [sys.executable, "-m", "benchmarks.loops.plain", loop, job.to_json()]

    def rate(self, name: str, field: Field) -> float:
        """Records a second of one process, by the broker's clock, over what it answered within LONGEST seconds of its first answer."""
        run, log = field.run(), self.folder / f"{name}.log"
        progress = Progress(self.kafka)
        with Crew({"a": self.command(name, run)}, log) as crew:
            end = time.monotonic() + 60
            begun = False
            while (done := progress.total(run.group)) < field.count and time.monotonic() < end:
                if not crew.alive("a"):
                    raise SystemExit(f"{name} ended: {log.read_text(errors='replace')[-2000:]}")
                if done and not begun:
                    begun, end = True, time.monotonic() + LONGEST
                time.sleep(0.2)
        progress.close()
        written = field.written(run)
        first = round(WARM_UP * len(written))
        if len(written) < 2 or written[-1] == written[first]:
            raise SystemExit(f"{name}: {len(written)} answers: {log.read_text(errors='replace')[-2000:]}")
        return (len(written) - 1 - first) / (written[-1] - written[first])


def _worker(config: Path) -> list[str]:
    return [sys.executable, "-m", "moderation", "worker", str(config)]


def rounds(runs: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Every rate of every run, taken in turns."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            found[name].append(run())
    return found


def text_runs(bench: Bench, count: int) -> dict[str, Callable[[], float]]:
    """All hits: 2,000 different texts, over and over, so that after the warm-up none is new."""
    texts = worker.made_texts(min(2_000, max(1, round(WARM_UP * count * 0.8))))
    worker.prepare(bench.folder, texts)
    field = Field(bench.kafka)
    field.feed(worker.values(texts, count))
    names = [name for name in TEXTS if bench.peers or name not in PEERS]
    return {name: lambda name=name: bench.rate(name, field) for name in names}  # type: ignore[misc]


def picture_runs(bench: Bench, count: int) -> dict[str, Callable[[], float]]:
    """Cold: no picture twice."""
    from benchmarks.encode import photographs
    from moderation.encoder.checkpoint import load

    files = photographs(min(32, max(1, count // 4)))
    new, known = Field(bench.kafka, 2), Field(bench.kafka, 2)
    new.feed(pictures.different(files, count), pictures.JPEG)
    known.feed((files[number % len(files)] for number in range(3 * count)), pictures.JPEG)
    encoder = load("bundled", device="cpu")
    contents = list(pictures.different(files, count))
    encoder.encode_images(contents[:BATCH])

    def ceiling() -> float:
        began = time.perf_counter()
        encoder.encode_images(contents)
        return count / (time.perf_counter() - began)

    fields = {"cold": new, "hits": known, "transformers": new, "transformers_batch": new}
    return {
        "ceiling": ceiling,
        **{name: lambda name=name, field=field: bench.rate(name, field) for name, field in fields.items()},  # type: ignore[misc]
    }


def ratios(found: Mapping[str, list[float]]) -> dict[str, float]:
    """Medians of the ratios within a round."""
    return {
        name: statistics.median(a / b for a, b in zip(found[above], found[below], strict=True))
        for name, (above, below, _aim) in RATIOS.items()
        if above in found and below in found
    }


def memory(bench: Bench, count: int) -> list[dict[str, float]]:
    """The worker's resident memory at each twentieth of the records. A fifth of the contents fits into the cache, so it is always full."""
    texts = worker.made_texts(20_000)
    worker.prepare(bench.folder, texts)
    field = Field(bench.kafka)
    run, progress, marks = field.run(), Progress(bench.kafka), list[dict[str, float]]()
    config = worker.settings(bench.folder, run, bench.kafka, cache_bytes=6_000_000)
    with Crew({"a": _worker(config)}, bench.folder / "long.log") as crew:
        for mark in range(1, 21):
            target = count * mark // 20
            field.feed(worker.values(texts, target - field.count))
            if not progress.wait(run.group, target, seconds=900):
                raise SystemExit(f"{progress.total(run.group)} of {target} records were decided")
            marks.append({"records": target, "rss_mb": _resident_mb(crew.pid("a"))})
        if crew.ends:
            raise SystemExit("the worker was started again meanwhile")
    progress.close()
    return marks


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=12_000)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers" / "bin" / "python")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = stack.enter_context(lease(f"bench-{os.getpid()}"))
        bench = Bench(folder, services.kafka, services.redis, str(options.peers) if options.peers.exists() else "")
        result: dict[str, Any] = {"load_before": round(os.getloadavg()[0], 1)}
        if options.long:
            result |= {"marks": memory(bench, options.records)}
        else:
            result |= {"peers": peer_versions(bench.peers)}
            texts = rounds(text_runs(bench, options.texts), options.rounds)
            found = texts | rounds(picture_runs(bench, options.pictures), options.rounds)
            result |= {"rates": {name: statistics.median(rates) for name, rates in found.items()}}
            result |= {"spread": {name: [min(rates), max(rates)] for name, rates in found.items()}}
            result |= {"ratios": ratios(found)}
    print(json.dumps(result) if options.json else told_memory(result) if options.long else table(result))


def peer_versions(python: str) -> dict[str, str]:
    """What is installed there; nothing where there is no such interpreter."""
    if not python:
        return {}
    command = [python, "-m", "benchmarks.loops.peers", "versions"]
    found: dict[str, str] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return found


def table(result: Mapping[str, Any]) -> str:
    """For people."""
    lines = [f"load before: {result['load_before']}; records of 1 KB a second, then pictures of 640 x 480 a second"]
    for name, rate in result["rates"].items():
        low, high = result["spread"][name]
        lines.append(f"{(TEXTS | PICTURES)[name]:62}{rate:10.0f}   ({low:.0f} to {high:.0f})")
    told = ", ".join(f"{name} {number}" for name, number in result["peers"].items())
    lines.append(f"peers: {told or 'left out, for want of an interpreter that has them (--peers)'}")
    for name, ratio in result["ratios"].items():
        aim = RATIOS[name][2]
        lines.append(f"{name:34}{ratio:8.2f}" + (f"   aim {aim}" if aim else ""))
    return "\n".join(lines)


def told_memory(result: Mapping[str, Any]) -> str:
    """For people."""
    marks = result["marks"]
    lines = [f"{one['records']:12,.0f} records{one['rss_mb']:8.1f} MB" for one in marks]
    quarters = [max(one["rss_mb"] for one in marks[start : start + 5]) for start in range(0, 20, 5)]
    return "\n".join([*lines, f"largest in each quarter: {', '.join(f'{one:.1f}' for one in quarters)} MB"])


if __name__ == "__main__":
    main()
