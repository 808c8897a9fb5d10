"""The true worker for benchmarks: a build that is live over recorded vectors as wide as a real encoder's, and settings for it.

Run as `python -m benchmarks.loops.worker SETTINGS SECONDS` it is that worker, but reading a record takes so long: for faults that strike in the middle.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loops.field import Run
from moderation.item import Modality

WIDTH, PHRASES, TEXT_BYTES = 512, 8, 940
WORDS = "the a cheap best new old red blue phone chair book cat dog house for sale please call me today".split()  # noqa: SIM905
LOCK = "weapons.lock.json"


def made_texts(count: int, seed: int = 0) -> list[str]:
    """Different texts of about a kilobyte."""
    chance = random.Random(seed)
    found = []
    for number in range(count):
        words = [str(number)]
        while sum(map(len, words)) + len(words) < TEXT_BYTES:
            words.append(chance.choice(WORDS))
        found.append(" ".join(words))
    return found


def values(texts: list[str], count: int) -> Iterator[bytes]:
    """Records as JSON, the texts over and over."""
    for number in range(count):
        yield json.dumps({"id": f"item {number}", "text": texts[number % len(texts)]}).encode()


def prepare(folder: Path, texts: list[str]) -> None:
    """A recording of these texts and a live lock on it: one policy of 8 + 8 phrases; two texts in a hundred match."""
    from moderation.encoder.recorded import load_recording, write_recording
    from moderation.policy.lock import lock_path, write_lock
    from moderation.release.record import Change, Record, encode_record, record_path
    from tests.fakes import lock

    rng, path = np.random.default_rng(0), folder / "recorded.safetensors"
    write_recording(
        path, name="made", texts={text: _vector(rng, 0.9 if rng.random() < 0.02 else 0.2) for text in texts}
    )
    encoder = load_recording(path)
    arrays = {
        "violating": np.stack([_vector(rng, 0.95) for _ in range(PHRASES)]).astype(np.float32),
        "contrast": np.stack([_vector(rng, 0.0) for _ in range(PHRASES)]).astype(np.float32),
        "gain": np.ones(2 * PHRASES),
        "offset": np.zeros(2 * PHRASES),
        "numbers": np.array([10.0, 0.0, 0.25, 0.0, 0.0]),
        "golden": _vector(rng, 1.0)[None].astype(np.float16),
        "golden_pictures": np.zeros((0, WIDTH), np.float16),
    }
    made = lock(
        modalities=(Modality.TEXT,), width=WIDTH, arrays=arrays, phrases=tuple(f"phrase {n}" for n in range(PHRASES)),
        encoder_identity=encoder.fingerprint.identity, encoder_numeric=encoder.fingerprint.numeric,
    )  # fmt: skip
    write_lock(made, lock_path(folder, "weapons"))
    change = Change("live", made.revision, made.policy_hash, "2026-11-28T00:00:00+00:00", "bench", "", {})
    record_path(lock_path(folder, "weapons")).write_text(encode_record(Record("weapons", (change,))), encoding="utf-8")


def settings(
    folder: Path,
    run: Run,
    bootstrap: str,
    slot: str = "a",
    *,
    lock: Path | None = None,
    redis: str = "",
    cache_bytes: int = 256_000_000,
    **stream: Any,
) -> Path:
    """A settings file of one worker; without `lock` it decides by the one that `prepare` made. With `redis` every vector comes from there, none from memory."""
    own = {"inputs": [run.input], "group": run.group, "slot": slot, **stream}
    encoder = {"loader": "recorded", "checkpoint": str(folder / "recorded.safetensors")} if lock is None else {}
    sections: dict[str, dict[str, Any]] = {
        "encoders.default": encoder,
        "stream": own,
        "stream.kafka": {"bootstrap": [bootstrap]},
        "worker": {
            "locks": [str(lock or folder / LOCK)], "decisions": run.output, "dead_letters": run.dead_letters
        },
    }  # fmt: skip
    sections["cache"] = {"tenant": run.group, "max_bytes": 0 if redis else cache_bytes}
    if redis:
        sections["cache.redis"] = {"url": f"redis://{redis}/0", "timeout_seconds": 1.0}
    path = folder / f"{run.group}-{slot}.toml"
    path.write_text("".join(_section(name, told) for name, told in sections.items()), encoding="utf-8")
    return path


def _section(name: str, told: dict[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items())


def _vector(rng: np.random.Generator, cosine: float) -> Any:
    """A unit vector with this cosine to the first axis."""
    rest = rng.normal(size=WIDTH - 1)
    return np.concatenate([[cosine], rest / np.linalg.norm(rest) * np.sqrt(1 - cosine**2)])


def _slow(seconds: float) -> None:
    """One record at a time, whichever thread reads it."""
    from moderation.stream import envelope

    read, turn = envelope.read_item, threading.Lock()

    def slowly(record: Any, **options: Any) -> Any:
        with turn:
            time.sleep(seconds)
        return read(record, **options)

    envelope.read_item = slowly


if __name__ == "__main__":
    from moderation.cli.main import main

    _slow(float(sys.argv[2]))
    main(["worker", sys.argv[1]])
