"""What a few labelled pictures are worth: the policy's words alone, the compiler's heads on cached vectors, and training.

Shots are drawn from a policy's fit targets, as many violating as benign, from as many objects as there are; everything is measured
on its certify targets, which are other objects. Four ways, the same shots:

- zero-shot: `compile_policy` without targets (L1).
- compiled: `compile_policy` with the shots as fit targets; it keeps the words' level where they do not beat it.
- adapters, heads: low-rank adapters, or the projections alone with both towers locked, by `moderation train`, each violating
  picture captioned with the violating phrases, each benign one with the contrast phrases, from three quarters of the shots. Between the start and what was learned (WiSE-FT) the share that does best
  on the last quarter is taken, and anything but the start only where it is better there by a standard error.

    python benchmarks/few_shot.py [--policy policies/weapons.yaml] [--shots 16 32 64 128 256] [--draws 5] [--json]

Reported: average precision and area under the ROC curve, mean over the draws; the worst change against zero-shot in any draw;
how often a way stayed at zero-shot; seconds a fit takes, pictures encoded already for the compiler.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from moderation.compiler.compile import compile_policy
from moderation.compiler.levels import average_precision
from moderation.compiler.probe import targets
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.checkpoint import load
from moderation.policy.loader import load_policy
from moderation.policy.manifest import TargetRow, load_manifest
from moderation.policy.schema import Policy
from moderation.settings import load_settings
from moderation.training.evaluation.policy import auc
from moderation.training.loop import train

ROOT = Path(__file__).resolve().parents[1]
START = ROOT / "moderation" / "bundled" / "encoder"
KEEPS = (0.75, 0.5, 0.25, 0.0)  # of the start, in what training may come to
HELD = 4  # the shots of one object in so many choose among them
LEAST = 4  # held-out objects of each class below which nothing is chosen but the start
CACHE_BYTES = 100_000_000
WAYS = ("zero_shot", "compiled", "adapters", "heads")
LEARNS = {"adapters": "lora = {rank = 8}", "heads": 'lock = ["image", "text"]\nprojections = true'}


@dataclass(frozen=True, slots=True)
class Task:
    """A policy with what it is fitted on and measured on."""

    policy: Policy
    pool: Sequence[TargetRow]
    test: Sequence[TargetRow]
    background: Sequence[TargetRow]


@dataclass(frozen=True, slots=True)
class Result:
    """One way with one draw; `stayed` says that it came out as zero-shot."""

    precision: float
    area: float
    seconds: float
    stayed: bool


def read_task(path: Path, most: int | None) -> Task:
    """The policy's manifests; `most` cuts what is measured on, evenly."""
    policy = load_policy(path, action_names=load_settings().actions)
    if policy.data.fit is None or policy.data.certify is None:
        raise SystemExit(f"{path}: expected a policy with data.fit and data.certify")
    test = load_manifest(policy.data.certify)
    if most:
        sides = [[row for row in test if row.target == side] for side in (True, False)]
        test = tuple(row for side in sides for row in side[:: max(1, 2 * len(side) // most)])
    background = load_manifest(ROOT / "policies" / "data" / "background.jsonl")
    return Task(policy, load_manifest(policy.data.fit), test, background)


def draw(pool: Sequence[TargetRow], shots: int, seed: int) -> list[TargetRow]:
    """As many violating as benign rows, a second picture of an object only when every object has given one."""
    dice, found = np.random.default_rng([seed, shots]), []
    for side in (True, False):
        rows = [pool[at] for at in dice.permutation(len(pool)) if pool[at].target == side]
        turns: dict[str, int] = {}
        for row in rows:
            turns[row.cluster] = turns.get(row.cluster, 0) + 1
        seen: dict[str, int] = {}
        order = []
        for at, row in enumerate(rows):
            seen[row.cluster] = seen.get(row.cluster, 0) + 1
            order.append((seen[row.cluster], at))
        if len(rows) < shots // 2:
            raise SystemExit(
                f"{shots} shots: found {len(rows)} fit targets of one class; expected {shots // 2} or more"
            )
        found += [rows[at] for _, at in sorted(order)[: shots // 2]]
    return found


def head_of(task: Task, embedder: Embedder, fit: Sequence[TargetRow] = ()) -> Head:
    """The classifier that the compiler makes."""
    lock = compile_policy(task.policy, embedder, fit=fit, background=task.background)
    return Head.from_arrays(lock.level, lock.arrays)


def scores(head: Head, embedder: Embedder, rows: Sequence[TargetRow]) -> NDArray[np.float64]:
    """Raw scores of rows that all can be encoded."""
    embedded = embedder.embed([row.read() for row in rows])
    if embedded.errors:
        raise SystemExit(f"{len(embedded.errors)} pictures cannot be encoded")
    return head.raw(embedded.vectors)


def measure(head: Head, embedder: Embedder, rows: Sequence[TargetRow]) -> tuple[float, float]:
    """Average precision, an object counting once, and area."""
    found, violating = scores(head, embedder, rows), labels(rows)
    names = [row.cluster for row in rows]
    _, clusters = np.unique(names, return_inverse=True)
    on = targets(np.zeros((len(rows), 1), np.float16), violating, clusters.astype(np.int64))
    return average_precision(found, on), auc(found, violating, names).value


def labels(rows: Sequence[TargetRow]) -> NDArray[np.bool_]:
    """Which rows violate."""
    return np.array([row.target for row in rows], np.bool_)


def compiled(task: Task, start: Embedder, shots: Sequence[TargetRow]) -> Result:
    """The compiler's heads on vectors that are there."""
    scores(head_of(task, start), start, shots)
    began = time.perf_counter()
    head = head_of(task, start, shots)
    seconds = time.perf_counter() - began
    return Result(*measure(head, start, task.test), seconds, head.level != "L3")


def trained(task: Task, start: Embedder, shots: Sequence[TargetRow], way: str, *, steps: int, seed: int) -> Result:
    """What a way learns, as far from the start as a quarter of the shots bears out."""
    began = time.perf_counter()
    objects = [list(dict.fromkeys(row.cluster for row in shots if row.target == side)) for side in (True, False)]
    names = {name for side in objects for name in side[::HELD]}
    held, learned = ([row for row in shots if (row.cluster in names) == side] for side in (True, False))
    chosen = start
    with tempfile.TemporaryDirectory() as folder:
        if min(len(side[::HELD]) for side in objects) >= LEAST:
            adapted = adapt(task.policy, learned, Path(folder), LEARNS[way], steps=steps, seed=seed)
            best = scores(head_of(task, start), start, held)
            for keep in KEEPS:
                other = Embedder(
                    load(str(mixed(adapted, keep)), device="cpu", dtype="float32"), MemoryCache(CACHE_BYTES)
                )
                found = scores(head_of(task, other), other, held)
                if beats(found, best, held):
                    chosen, best = other, found
        seconds = time.perf_counter() - began
        return Result(*measure(head_of(task, chosen), chosen, task.test), seconds, chosen is start)


def adapt(policy: Policy, rows: Sequence[TargetRow], folder: Path, learns: str, *, steps: int, seed: int) -> Path:
    """Train on the rows; the encoder's folder."""
    concepts = {True: policy.concepts.violating, False: policy.concepts.contrast}
    captions = {side: [phrase for one in found for phrase in one.phrases] for side, found in concepts.items()}
    lines = [json.dumps({"path": str(row.path), "captions": captions[row.target]}) for row in rows]
    (folder / "shots.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "train.toml").write_text(
        f"""out = "run"
seed = {seed}
steps = {steps}
batch = {min(16, len(rows))}
save_every = {steps}
[data]
pairs = ["shots.jsonl"]
smallest_crop = 0.8
mirror = true
[model]
start = {json.dumps(str(START))}
{learns}
[optimiser]
rate = 5e-4
tower_rate = 5e-4
warm_up = {steps // 10}
cool_down = {steps // 2}
average = 0
""",
        encoding="utf-8",
    )
    train(folder / "train.toml")
    return folder / "run" / "encoder"


def mixed(adapted: Path, keep: float) -> Path:
    """A copy of the folder with weights between the start and these."""
    out = adapted.with_name(f"keep-{keep}")
    shutil.copytree(adapted, out)
    before, after = load_file(START / "model.safetensors"), load_file(adapted / "model.safetensors")
    between = {
        name: torch.lerp(one.float(), before[name].float(), keep).to(one.dtype) if one.is_floating_point() else one
        for name, one in after.items()
    }
    save_file(between, out / "model.safetensors", metadata={"format": "pt"})
    return out


def beats(one: NDArray[np.float64], other: NDArray[np.float64], rows: Sequence[TargetRow]) -> bool:
    """Whether its area is larger by more than a standard error of the difference (DeLong's, paired, over objects)."""
    violating, names = labels(rows), np.array([row.cluster for row in rows])
    mean, variance = 0.0, 0.0
    for side, sign in ((violating, 1.0), (~violating, -1.0)):
        placed = [above(found[side], found[~side]) for found in (one, other)]
        differences = sign * (placed[0] - placed[1])
        objects = np.array([differences[names[side] == name].mean() for name in np.unique(names[side])])
        mean += float(objects.mean()) / 2
        variance += float(objects.var(ddof=1)) / len(objects)
    return mean > max(variance**0.5, 0.0)


def above(values: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each value the share of the others below it, ties counting half."""
    return np.asarray(((values[:, None] > others) + (values[:, None] == others) / 2).mean(axis=1))


def row_of(shots: int, results: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    """A line of the table."""
    row: dict[str, Any] = {"shots": shots}
    base = results["zero_shot"]
    for way, found in results.items():
        changes = [
            [one.precision - zero.precision, one.area - zero.area] for one, zero in zip(found, base, strict=True)
        ]
        row[way] = {
            "average_precision": round(float(np.mean([one.precision for one in found])), 4),
            "auc": round(float(np.mean([one.area for one in found])), 4),
            "worst_change": [round(float(one), 4) for one in np.min(changes, axis=0)],
            "stayed": sum(one.stayed for one in found),
            "seconds": round(float(np.median([one.seconds for one in found])), 2),
        }
    return row


def main() -> None:
    """Draw, fit, measure, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", type=Path, default=ROOT / "policies" / "weapons.yaml")
    parser.add_argument("--shots", nargs="+", type=int, default=[16, 32, 64, 128, 256])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="of training")
    parser.add_argument("--most", type=int, help="pictures that are measured on")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    task = read_task(options.policy, options.most)
    start = Embedder(load(str(START), device="cpu", dtype="float32"), MemoryCache(CACHE_BYTES))
    words = head_of(task, start)
    base = Result(*measure(words, start, task.test), 0.0, True)
    rows = []
    for count in options.shots:
        results: dict[str, list[Result]] = {way: [] for way in WAYS}
        for seed in range(options.draws):
            shots = draw(task.pool, count, seed)
            results["zero_shot"].append(base)
            results["compiled"].append(compiled(task, start, shots))
            for way in LEARNS:
                results[way].append(trained(task, start, shots, way, steps=options.steps, seed=seed))
            print(f"{count} shots, draw {seed + 1} of {options.draws}", file=sys.stderr)
        rows.append(row_of(count, results))
    violating = {row.cluster for row in task.test if row.target}
    result = {
        "policy": task.policy.id, "measured_on": len(task.test), "violating_objects": len(violating), "draws": options.draws,
        "steps": options.steps, "threads": torch.get_num_threads(), "rows": rows,
    }  # fmt: skip
    print(json.dumps(result) if options.json else table(result))


def table(result: Mapping[str, Any]) -> str:
    """For people."""
    lines = [", ".join(f"{name} {value}" for name, value in result.items() if name != "rows")]
    for row in result["rows"]:
        lines.append(f"{row['shots']} shots")
        for way in WAYS:
            at = row[way]
            worst = " and ".join(f"{one:+.3f}" for one in at["worst_change"])
            lines.append(
                f"  {way:10} AP {at['average_precision']:.3f}, AUC {at['auc']:.3f}; worst draw {worst}; "
                f"stayed at zero-shot {at['stayed']} times; {at['seconds']} s"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
