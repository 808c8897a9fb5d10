"""How far one picture's vector and score move with the number of pictures that the tower runs at once.

The bundled encoder runs padded batches of a few sizes. Shipped pictures are encoded in batches of each of them; their
score is that of a policy compiled here with its fit targets, as `moderation policy compile` does. What is reported is the
largest difference between any two sizes.

    python benchmarks/buckets.py [--pictures 100] [--policy policies/weapons.yaml] [--json]

`--pictures N` takes N of them, evenly spread; 0 takes them all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from moderation import assemble
from moderation.compiler.compile import compile_policy
from moderation.detector.head import Head
from moderation.encoder.base import Encoder
from moderation.encoder.tokens import BATCH_BUCKETS
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.settings import Settings

POLICIES = Path(__file__).resolve().parent.parent / "policies"


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--policy", type=Path, default=POLICIES / "weapons.yaml")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    encoder, head = compiled(options.policy)
    files = sorted((POLICIES / "pictures").rglob("*.webp"))
    count = min(options.pictures or len(files), len(files))
    pictures = [files[at * len(files) // count].read_bytes() for at in range(count)]
    vectors = np.stack([in_batches_of(size, encoder, pictures) for size in BATCH_BUCKETS])
    scores = np.stack([head.score(one).values for one in vectors])
    moved = np.ptp(scores, axis=0)
    found = {
        "pictures": len(pictures),
        "sizes": list(BATCH_BUCKETS),
        "level": head.level,
        "vectors_that_differ": int((vectors != vectors[0]).any(axis=(0, 2)).sum()),
        "largest_difference_of_a_number": float(np.ptp(vectors.astype(np.float32), axis=0).max()),
        "scores_that_differ": int((moved > 0).sum()),
        "largest_difference_of_a_score": round(float(moved.max()), 6),
    }
    print(json.dumps(found) if options.json else "\n".join(f"{n.replace('_', ' '):34} {v}" for n, v in found.items()))


def compiled(path: Path) -> tuple[Encoder, Head]:
    """The bundled encoder, and a policy's head on it."""
    settings = Settings()
    policy = load_policy(path, action_names=settings.actions)
    embedder = assemble.embedder(settings)
    background = load_manifest(POLICIES / "data" / "background.jsonl")
    fit = load_manifest(policy.data.fit) if policy.data.fit else ()
    lock = compile_policy(policy, embedder, fit=fit, background=background)
    return embedder.encoder, Head.from_arrays(lock.level, lock.arrays)


def in_batches_of(size: int, encoder: Encoder, pictures: list[bytes]) -> np.ndarray:
    """The vectors of all pictures, float16 [n, d]; the last batch is filled up with the first picture."""
    batches = [pictures[start : start + size] for start in range(0, len(pictures), size)]
    batches[-1] += [pictures[0]] * (size - len(batches[-1]))
    found = [encoder.encode_images(batch) for batch in batches]
    if errors := [error for one in found for error in one.errors.values()]:
        raise SystemExit(f"a shipped picture cannot be encoded: {errors[0]}")
    return np.concatenate([one.vectors for one in found])[: len(pictures)]


if __name__ == "__main__":
    main()
