"""How long a full test and audit of one policy take on cached vectors, and which share of it is spent outside numpy and scipy.

    python benchmarks/audit.py [--items 100000] [--json]

Every item has a vector in the cache already, as on a second run; texts stand for content, their vectors are random. The tests are a
capability, a benign set and parity of groups over all items; the audit has two attributes in eight groups, their intersection, and two harms.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from moderation import assemble
from moderation.audit.assess import Request, assess
from moderation.audit.design import Design
from moderation.audit.sample import judge_rows, make_sample
from moderation.compiler.compile import compile_policy
from moderation.detector.head import Head
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.item import Part, content_digest
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow
from moderation.release.certification import certify_lock
from moderation.release.set_trials import _benign, _capability, _parity
from moderation.release.suite import Benign, Capability, Parity
from moderation.settings import Settings

POLICY = """\
schema: policy/v1
id: made
title: A made policy
version: 1.0.0
owner: benchmarks
review_by: 2099-01-01
severity: low
scope: {modalities: [text]}
definition: {violates: [{id: v1, text: "It breaks the rule."}], allowed: [{id: a1, text: "It does not."}]}
concepts:
  violating: [{id: bad, covers: [v1], phrases: [a bad thing, a worse thing]}]
  contrast: [{id: good, covers: [a1], phrases: [a good thing, a better thing]}]
prevalence: {low: 0.1, high: 0.2, source: made, n: 1000}
actions: [{action: review, guarantee: {metric: recall, at_least: 0.5, confidence: 0.9}}]
on_error: review
tests: [none.yaml]
audit:
  attributes: [{name: tone, about: depicted, source: made}, {name: region, about: author, source: made}]
  intersections: [[tone, region]]
  harms:
    - {name: wrongful, metric: fpr, tolerance: 0.02, set_by: benchmarks, why: a figure}
    - {name: missed, metric: fnr, tolerance: 0.02, set_by: benchmarks, why: a figure}
"""
WIDTH = 512


class Made:
    """An encoder whose vectors lie near one of two axes, as a text's first word says, and otherwise anywhere."""

    def __init__(self) -> None:
        self.fingerprint = Fingerprint("made-for-benchmarks", "numpy")
        text = {"context_length": 77, "padding": "longest", "trim_exact": True, "languages": ["en"]}
        self.card = EncoderCard.model_validate(
            {
                "schema": "encoder-card/v1",
                "name": "made",
                "modalities": ("text",),
                "width": WIDTH,
                "activation": "gelu",
                "text": text,
            },
            strict=False,
        )

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        raise NotImplementedError

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        vectors = np.stack([self._vector(text) for text in texts]) if texts else np.zeros((0, WIDTH))
        return Encoded(vectors.astype(np.float16), {})

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    @staticmethod
    def _vector(text: str) -> np.ndarray:
        random = np.random.default_rng(int(content_digest(text.encode())[:12], 16))
        vector = random.normal(size=WIDTH) / np.sqrt(WIDTH)
        vector[0] += 0.35 * (("bad" in text) or ("worse" in text)) - 0.35 * (("good" in text) or ("better" in text))
        return vector / np.linalg.norm(vector)


def made_rows(count: int, name: str) -> list[TargetRow]:
    """Half of them violating, in groups dealt by their number, two items a cluster."""
    rows = []
    for number in range(count):
        target = number % 2 == 0
        text = f"{'bad' if target else 'good'} {content_digest(f'{name} {number}'.encode())}"
        attributes = {"tone": "abcde"[number // 2 % 5], "region": "xyz"[number // 10 % 3]}
        rows.append(TargetRow(None, text, content_digest(text.encode()), target, f"{name} {number // 2}", attributes))
    return rows


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    told = measure(arguments.items)
    if arguments.json:
        print(json.dumps(told))
        return
    print(f"{told['items']:,} items: test {told['test_seconds']:.1f} s, audit {told['audit_seconds']:.1f} s")
    for part, seconds in told["parts"].items():
        print(f"  {part}: {seconds:.1f} s")
    print(f"outside numpy and scipy: {told['outside']:.0%} of the time (by cProfile, which slows Python itself down)")


def measure(items: int) -> dict[str, Any]:
    """Seconds of both steps and their parts, and the share outside numpy and scipy, on a warm cache."""
    settings = Settings.model_validate({"cache": {"max_bytes": 4_000_000_000}})
    embedder = assemble.remembering(Made(), settings)
    policy = _policy()
    lock = _certified(policy, embedder, settings)
    rows = made_rows(items, "item")
    for start in range(0, items, 4096):
        embedder.embed([Part.text(row.text or "") for row in rows[start : start + 4096]])
    pipeline = assemble.pipeline(settings, [lock], embedders={"default": embedder})
    parts: dict[str, float] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        parts[name] = time.perf_counter() - started
        return result

    def whole() -> None:
        judged = timed("deciding", lambda: judge_rows(policy.id, rows, pipeline, actions=settings.actions))
        verdicts = [one for start in range(0, items, 64) for one in _verdicts(pipeline, rows[start : start + 64])]
        timed("tests over the verdicts", lambda: _tests(rows, verdicts, settings.actions))
        sample = timed("columns", lambda: make_sample(judged, ["tone", "region"]))
        vectors = timed(
            "vectors from the cache", lambda: embedder.embed([Part.text(row.text or "") for row in rows]).vectors
        )
        design = Design(
            Head.from_arrays(lock.level, lock.arrays), vectors, {"review": lock.actions[0].threshold or 0.5}
        )
        timed(
            "statistics", lambda: assess(policy, policy.audit, lock, sample, Request(settings.actions, design=design))
        )

    started = time.perf_counter()
    whole()
    total = time.perf_counter() - started
    seconds = dict(parts)  # before the profiler slows them down
    audit = sum(seconds.values()) - seconds["tests over the verdicts"]
    profile = cProfile.Profile()
    profile.runcall(whole)
    return {
        "items": items,
        "test_seconds": round(total - audit, 3),
        "audit_seconds": round(audit, 3),
        "parts": {name: round(one, 3) for name, one in seconds.items()},
        "outside": round(_outside(profile), 4),
    }


def _verdicts(pipeline: Any, rows: Sequence[TargetRow]) -> list[Any]:
    return [decision.verdicts[0] for decision in pipeline.decide([row.item() for row in rows])]


def _tests(rows: Sequence[TargetRow], verdicts: Sequence[Any], order: Sequence[str]) -> None:
    shared = {"id": "one", "items": "none.jsonl"}
    _capability(
        Capability.model_validate({**shared, "expect": "at_least review", "floor": 0.1}, strict=False), rows, verdicts
    )
    _benign(Benign.model_validate({**shared, "cap": 0.9}), order, rows, verdicts)
    parity = Parity.model_validate({**shared, "attribute": "tone", "expect": "no_match", "max_gap": 0.5}, strict=False)
    _parity(parity, rows, verdicts)


def _policy() -> Any:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.yaml"
        path.write_text(POLICY, encoding="utf-8")
        return load_policy(path, action_names=Settings().actions)


def _certified(policy: Any, embedder: Any, settings: Settings) -> Lock:
    lock = compile_policy(policy, embedder)
    pipeline = assemble.pipeline(settings, [lock], embedders={"default": embedder})
    return certify_lock(lock, policy, made_rows(400, "certify"), pipeline, background=())


def _outside(profile: cProfile.Profile) -> float:
    """The share of time spent in functions that are neither numpy's nor scipy's, nor called into C by them."""
    inside = outside = 0.0
    for (file, _, name), (_, _, own, _, _) in pstats.Stats(profile, stream=sys.stderr).stats.items():  # type: ignore[attr-defined]
        if "numpy" in file or "scipy" in file or "numpy" in name:
            inside += own
        else:
            outside += own
    return outside / (inside + outside)


if __name__ == "__main__":
    main()
