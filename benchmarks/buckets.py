"""How far one content's vector and score move with the number of contents that the tower runs at once.

Towers run padded batches of a few sizes. Shipped pictures and texts are encoded in batches of each of them, by every shipped encoder; what is
reported is the largest difference between any two sizes: of a number, and of a vector (its length). Scores are those of a policy compiled here
with its fit targets, as `moderation policy compile` does. In one size nothing moves: tests/property/test_bucket_laws.py.

    python benchmarks/buckets.py [--pictures 100] [--texts 100] [--dtype float32 bfloat16] [--policy policies/weapons.yaml] [--json]

`--pictures N` takes N of them, evenly spread, and so `--texts`; 0 takes them all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from moderation import assemble
from moderation.compiler.compile import compile_policy
from moderation.detector.head import Head
from moderation.encoder.base import Encoded, Encoder
from moderation.encoder.tokens import BATCH_BUCKETS, length_bucket
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.settings import USUAL_ENCODERS, EncoderSettings, Settings

POLICIES = Path(__file__).resolve().parent.parent / "policies"
COLUMNS = "| {:8} | {:8} | {:9} | {:>8} | {:>6} | {:>9} | {:>9} |"


def main() -> None:
    """Measures, and prints a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--dtype", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--policy", type=Path, default=POLICIES / "weapons.yaml")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    encoder, head = compiled(options.policy)
    pictures = spread([path.read_bytes() for path in sorted((POLICIES / "pictures").rglob("*.webp"))], options.pictures)
    vectors = in_every_size(encoder.encode_images, pictures)
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
    known = {USUAL_ENCODERS["default"]: vectors}
    rows = [row for dtype in options.dtype for row in of_encoders(dtype, pictures, options.texts, known)]
    if options.json:
        print(json.dumps({**found, "rows": rows}))
        return
    print("\n".join(f"{name.replace('_', ' '):34} {value}" for name, value in found.items()))
    print(COLUMNS.format(*rows[0]))
    for row in rows:
        print(COLUMNS.format(*row.values()))


def of_encoders(
    dtype: str, pictures: list[bytes], most: int, known: Mapping[EncoderSettings, np.ndarray]
) -> Iterator[dict[str, Any]]:
    """For each shipped encoder and modality how far vectors move, at most; of `known` ones the pictures' vectors are there."""
    for name in ("default", "text"):
        chosen = USUAL_ENCODERS[name].model_copy(update={"dtype": dtype})
        encoder = assemble.encoder(Settings(encoders={"default": chosen}))
        card = encoder.card
        if card.image:
            vectors = known[chosen] if chosen in known else in_every_size(encoder.encode_images, pictures)
            yield row(name, "image", dtype, vectors)
        if card.text:
            longest = card.text.context_length
            texts = spread([one for one in shipped_texts() if encoder.count_tokens(one) <= longest], most)
            # Neighbours of one padded length, so that the sizes are those that are asked for.
            texts.sort(key=lambda text: length_bucket(encoder.count_tokens(text), card.text))  # type: ignore[arg-type]
            yield row(name, "text", dtype, in_every_size(encoder.encode_text, texts))


def row(encoder: str, modality: str, dtype: str, vectors: np.ndarray) -> dict[str, Any]:
    """From float16 [sizes, n, d]."""
    wide = vectors.astype(np.float64)
    apart = [float(np.linalg.norm(one - other, axis=1).max()) for one, other in combinations(wide, 2)]
    return {
        "encoder": encoder,
        "modality": modality,
        "dtype": dtype,
        "contents": vectors.shape[1],
        "differ": int((vectors != vectors[0]).any(axis=(0, 2)).sum()),
        "number": float(f"{np.ptp(wide, axis=0).max():.3g}"),
        "length": float(f"{max(apart):.3g}"),
    }


def spread(contents: list[Any], most: int) -> list[Any]:
    """So many of them, evenly spread; all for 0."""
    count = min(most or len(contents), len(contents))
    return [contents[at * len(contents) // count] for at in range(count)]


def shipped_texts() -> list[str]:
    """Every text of the shipped manifests, once."""
    lines = [
        line for path in sorted((POLICIES / "data").glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()
    ]
    return list(dict.fromkeys(text for text in (json.loads(line).get("text") for line in lines) if text))


def compiled(path: Path) -> tuple[Encoder, Head]:
    """The bundled encoder, and a policy's head on it."""
    settings = Settings()
    policy = load_policy(path, action_names=settings.actions)
    embedder = assemble.embedder(settings)
    background = load_manifest(POLICIES / "data" / "background.jsonl")
    fit = load_manifest(policy.data.fit) if policy.data.fit else ()
    lock = compile_policy(policy, embedder, fit=fit, background=background)
    return embedder.encoder, Head.from_arrays(lock.level, lock.arrays)


def in_every_size(encode: Callable[[Sequence[Any]], Encoded], contents: list[Any]) -> np.ndarray:
    """The vectors of all contents, float16 [sizes, n, d]; a last batch is filled up with the first content."""
    return np.stack([in_batches_of(size, encode, contents) for size in BATCH_BUCKETS])


def in_batches_of(size: int, encode: Callable[[Sequence[Any]], Encoded], contents: list[Any]) -> np.ndarray:
    batches = [contents[start : start + size] for start in range(0, len(contents), size)]
    batches[-1] += [contents[0]] * (size - len(batches[-1]))
    found = [encode(batch) for batch in batches]
    if errors := [error for one in found for error in one.errors.values()]:
        raise SystemExit(f"a shipped content cannot be encoded: {errors[0]}")
    return np.concatenate([one.vectors for one in found])[: len(contents)]


if __name__ == "__main__":
    main()
