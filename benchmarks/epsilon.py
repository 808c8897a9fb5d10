"""How far scores move from batch to batch, and to another numeric class, beside ε as the self-test promises it.

Every shipped picture and text is encoded by torch alone and in full batches and, where an export of the plugin moderation-onnx is
named, by ONNX Runtime. Under every shipped lock: ε, the largest movement of a score, how many move further, and how many
stand within ε of a threshold, which is what ε costs in reviews.

    python benchmarks/epsilon.py [--default EXPORT] [--text EXPORT] [--every 1] [--json]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from moderation.assemble import encoder as assembled
from moderation.detector.head import Head
from moderation.encoder.base import Encoder, Vectors
from moderation.policy.lock import SUFFIX, Lock, read_lock
from moderation.rollout.selftest import measure_epsilon
from moderation.settings import EncoderSettings, Settings

POLICIES = Path(__file__).resolve().parent.parent / "policies"
COLUMNS = "| {:13} | {:17} | {:>7} | {:>7} | {:>6} | {:>6} | {:>8} |"


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--default", help="an export of the encoder of pictures")
    parser.add_argument("--text", help="an export of the encoder of texts")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, float | int | str]] = []
    for name in ("default", "text"):
        contents = (pictures() if name == "default" else texts())[:: options.every]
        torch = assembled(Settings(), name)
        alone = encoded(torch, [[one] for one in contents])
        sides = {"torch, in batches": torch}
        if export := getattr(options, name):
            settings = Settings(encoders={name: EncoderSettings(loader="onnx", checkpoint=export)})
            sides["ONNX Runtime"] = assembled(settings, name)
        for side, encoder in sides.items():
            here = encoded(encoder, [contents])
            locks = [read_lock(path) for path in sorted(POLICIES.glob(f"*{SUFFIX}"))]
            asked = [lock for lock in locks if lock.encoder == name]
            rows += [{"policy": lock.policy, "to": side, **row(lock, encoder, alone, here)} for lock in asked]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    print(COLUMNS.format("policy", "from torch alone", "ε", "largest", "beyond", "near", "of"))
    for one in rows:
        print(COLUMNS.format(*(f"{cell:.1e}" if isinstance(cell, float) else f"{cell}" for cell in one.values())))


def pictures() -> list[bytes]:
    """Every shipped picture."""
    return [path.read_bytes() for path in sorted((POLICIES / "pictures").rglob("*.webp"))]


def texts() -> list[str]:
    """Every text of a shipped manifest, once."""
    lines = (line for path in sorted((POLICIES / "data").glob("*.jsonl")) for line in path.read_text().splitlines())
    return list(dict.fromkeys(row["text"] for row in map(json.loads, lines) if "text" in row))


def encoded(encoder: Encoder, batches: list[list[bytes]] | list[list[str]]) -> Vectors:
    """The vectors of all, batch by batch."""
    found = [
        encoder.encode_text(batch) if isinstance(batch[0], str) else encoder.encode_images(batch)  # type: ignore[arg-type]
        for batch in batches
    ]
    if errors := [error for one in found for error in one.errors.values()]:
        raise SystemExit(f"what is shipped cannot be encoded: {errors[0]}")
    return np.concatenate([one.vectors for one in found])


def row(lock: Lock, encoder: Encoder, alone: Vectors, here: Vectors) -> dict[str, float | int | str]:
    """The numbers of one line."""
    head, epsilon = Head.from_arrays(lock.level, lock.arrays), measure_epsilon(lock, encoder)
    there, score = head.score(alone).values, head.score(here).values
    moved = np.abs(there - score)
    cuts = np.array([action.threshold for action in lock.actions if action.threshold is not None])
    near = int((np.abs(score[:, None] - cuts) <= epsilon).any(axis=1).sum()) if len(cuts) else "-"
    beyond = int((moved > epsilon).sum())
    return {"epsilon": epsilon, "largest": float(moved.max()), "beyond": beyond, "near": near, "of": len(moved)}


if __name__ == "__main__":
    main()
