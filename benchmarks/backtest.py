"""How long a million kept items take to be decided again under two builds of a policy: from their vectors, and from their scores alone.

From vectors, as after a change of phrases: read from Parquet, checked, scored under both builds, decided, and counted by group, surface, day
and cluster, with rates from weighted targets. From scores, as after a change of a threshold: the same from kept decisions. Memory is the
highest resident set of a process that does nothing else, less that of one that only imports.

    python benchmarks/backtest.py [--rows 1000000] [--folder FOLDER] [--json]

Writing the files takes a minute and 1.1 GB on the disk; a folder that is named is kept, and used again as it is.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from moderation.decision import Decision, Outcome, Severity, Verdict
from moderation.detector.head import Head
from moderation.history.files import write_table
from moderation.history.items import Fact, Target
from moderation.history.log import write_decisions
from moderation.history.vectors import ROWS, KeptItem, KeptPart, write_vectors
from moderation.item import Modality
from moderation.policy.lock import Lock, LockedAction
from moderation.policy.schema import Policy
from moderation.release.backtest import Backtest, backtest
from moderation.release.replay import Trial, replay_vectors
from moderation.release.replay_log import replay_log, source_of

ACTIONS = ("allow", "label", "limit", "review", "remove")
WIDTH, FILE = 512, 50_000
IDENTITY, NUMERIC = "0123456789abcdef", "made"
EPOCH = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
WEIGHT = 50.0  # one item in so many is judged
SECONDS = 2  # from one item to the next


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", choices=("vectors", "scores", "nothing"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.folder)))
        return
    with tempfile.TemporaryDirectory() as made:
        told = measure(options.folder or Path(made), options.rows)
    if options.json:
        print(json.dumps(told))
        return
    for what in ("vectors", "scores"):
        found = told[what]
        print(
            f"{told['rows']:,} items from {what}: {found['seconds']:.1f} s ({found['cpu_seconds']:.1f} s of {told['cores']} cores), "
            f"{found['megabytes']:,.0f} MB of memory, {found['file_megabytes']:,.0f} MB of files; {found['changed']:,} change band"
        )
    print(f"load average before: {told['load']:.1f}")


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Seconds and memory of both, each in a process of its own."""
    load = os.getloadavg()[0]
    if not (folder / "vectors").is_dir():
        write(folder, rows)
    bare = _alone("nothing", folder)["megabytes"]
    told: dict[str, Any] = {"rows": rows, "width": WIDTH, "cores": len(os.sched_getaffinity(0)), "load": load}
    for what in ("vectors", "scores"):
        found = _alone(what, folder)
        found["megabytes"] -= bare
        found["file_megabytes"] = sum(path.stat().st_size for path in (folder / what).iterdir()) / 1e6
        told[what] = found
    return told


def one(what: str, folder: Path) -> dict[str, Any]:
    """One of the two, in this process."""
    began, spent = time.perf_counter(), time.process_time()
    changed = run(what, folder).compared.overall.changed.hits if what != "nothing" else 0
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    return {"seconds": seconds, "cpu_seconds": cpu, "megabytes": _most_memory(), "changed": changed}


def run(what: str, folder: Path) -> Backtest:
    """The backtest itself: other phrases from vectors, other thresholds from scores."""
    trial = Trial(lock(0, 0.02), lock(1, 0.02) if what == "vectors" else lock(0, 0.03), ACTIONS)
    if what == "vectors":
        return backtest(replay_vectors([folder / what], trial), trial, policy(), source="vectors")
    source = source_of([folder / what], trial)
    return backtest(replay_log([folder / what], trial, source), trial, policy(), source=source)


def write(folder: Path, rows: int) -> None:
    """A folder of vectors and one of decisions on the same items, taken by the build before."""
    vectors = unit(np.random.default_rng(0), min(FILE, rows)).astype(np.float16)
    before = lock(0, 0.02)
    scores = Head.from_arrays(before.level, before.arrays).score(vectors).values.tolist()
    facts = [_fact(number) for number in range(len(vectors))]
    items = [KeptItem(fact, (KeptPart(Modality.IMAGE, fact.cluster),)) for fact in facts]
    first = folder / "vectors" / "00000.parquet"
    write_vectors(first, items, vectors, identity=IDENTITY, numeric=NUMERIC)
    _repeat(first, rows, dense="parts.list.element.vector")
    first = folder / "scores" / "00000.parquet"
    write_decisions(
        first, [_decision(fact.item, score, before) for fact, score in zip(facts, scores, strict=True)], facts
    )
    _repeat(first, rows)


def _repeat(first: Path, rows: int, *, dense: str | None = None) -> None:
    """The first file again and again, of other items, clusters and times, until there are so many rows."""
    table = pq.read_table(first)
    told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    for number in range(1, -(-rows // FILE)):
        part = table.slice(0, rows - number * FILE)
        for name in ("item", "cluster"):
            renamed = pc.binary_join_element_wise(part.column(name), str(number), "/")
            part = part.set_column(part.column_names.index(name), name, renamed)
        later = pc.add(part.column("time"), pa.scalar(number * FILE * SECONDS * 1_000_000, pa.duration("us")))
        part = part.set_column(part.column_names.index("time"), "time", later)
        write_table(
            part, first.with_name(f"{number:05}.parquet"), schema=told["schema"], told=told, rows=ROWS, dense=dense
        )


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    """Random unit vectors, float32."""
    vectors = rng.standard_normal((rows, WIDTH)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def lock(seed: int, share: float) -> Lock:
    """A build over random phrases, for the shape is what takes time; this share of items gets review or more."""
    rng = np.random.default_rng(seed)
    phrases = unit(rng, 32)
    gain, offset = rng.uniform(20, 40, 32), rng.normal(0, 0.02, 32)
    head = Head("L1", phrases[:12], phrases[12:], gain, offset, 0.5, floor=1.0)
    scores = head.score(unit(np.random.default_rng(2), 2_000).astype(np.float16)).values
    review, remove = (round(float(np.quantile(scores, 1.0 - one)), 6) for one in (share, share / 10))
    cuts = (LockedAction("remove", "precision", 0.9, 0.95, remove), LockedAction("review", "recall", 0.9, 0.9, review))
    return Lock(
        policy="made", version="1.0.0", policy_hash="0" * 64, severity=Severity.HIGH, on_error="review", modalities=(Modality.IMAGE,),
        encoder="default", encoder_identity=IDENTITY, encoder_numeric=NUMERIC, width=WIDTH, level="L1", arrays=head.to_arrays(),
        phrases=tuple(f"phrase {number}" for number in range(12)), actions=cuts, surfaces=("listing", "chat"), max_parts=1,
    )  # fmt: skip


def policy() -> Policy:
    """A policy with what a backtest reads of one."""
    values = {
        "schema": "policy/v1", "id": "made", "title": "Made", "version": "1.0.0", "owner": "nobody", "review_by": dt.date(2030, 1, 1),
        "severity": "high", "scope": {"modalities": ("image",)}, "definition": {"violates": ({"id": "v1", "text": "made"},)},
        "concepts": {"violating": ({"id": "one", "phrases": ("made",)},)}, "tests": (Path("none.yaml"),), "on_error": "review",
        "prevalence": {"low": 0.01, "high": 0.05, "source": "made", "n": 100},
        "actions": ({"action": "review", "guarantee": {"metric": "recall", "at_least": 0.9, "confidence": 0.9}, "budget": 0.5},),
    }  # fmt: skip
    return Policy.model_validate(values)


def _fact(number: int) -> Fact:
    attributes = {
        "surface": ("listing", "chat")[number % 2],
        "region": f"region {number % 17}",
        "language": ("en", "de")[number % 3 % 2],
    }
    targets = {"made": Target(number % 7 == 0, WEIGHT)} if number % WEIGHT == 0 else {}
    time_ = EPOCH + dt.timedelta(seconds=SECONDS * number)
    return Fact(f"item {number}", f"cluster {number // 3}", time_, attributes, targets)


def _decision(item: str, score: float, build: Lock) -> Decision:
    action = next((one.action for one in build.actions if one.threshold is not None and score >= one.threshold), None)
    outcome = {None: Outcome.NO_MATCH, "review": Outcome.REVIEW}.get(action, Outcome.MATCH)
    verdict = Verdict(
        build.policy, build.version, build.revision, "live", outcome, Severity.HIGH, action, score=score, concept="phrase 0"
    )  # fmt: skip
    return Decision(
        item, item, action or "allow", Severity.HIGH, action or "allow", (verdict,), {"image": f"{IDENTITY}/{NUMERIC}"}
    )


def _most_memory() -> float:
    """The highest resident set so far, in MB. Not getrusage's: that one remembers the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _alone(what: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", what, "--folder", str(folder)]
    told: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told


if __name__ == "__main__":
    main()
