"""The locks that ship with moderation, made on torch, decide the shipped pictures and texts the same here, but within ε of a threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from moderation_onnx.encoder import load
from moderation_onnx.export import export

from moderation.assemble import pipeline
from moderation.decision import Decision, Outcome
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder import checkpoint
from moderation.encoder.base import Encoder
from moderation.item import ContentItem, Part
from moderation.policy.lock import Lock, read_lock
from moderation.rollout.selftest import measure_epsilon
from moderation.settings import USUAL_ENCODERS, Settings

POLICIES = Path(__file__).resolve().parents[3] / "policies"
LOCKS = [read_lock(path) for path in sorted(POLICIES.glob("*.lock.json"))]
# One step of float16 for numbers below a quarter, which all of these vectors' differing numbers are; measured.
STEP = {"default": 1.3e-4, "text": 1.3e-4}
# The largest difference of a score; measured: 9.0e-5 for pictures, 3.1e-5 for texts.
NEAR = 2e-4
Sides = tuple[Encoder, Encoder]


@pytest.fixture(scope="module", params=["default", "text"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sides(name: str, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """An encoder that policies may name, on torch and on ONNX Runtime."""
    reference, out = USUAL_ENCODERS[name].checkpoint, tmp_path_factory.mktemp(name) / "export"
    export(reference, out)
    return checkpoint.load(reference, device="cpu"), load(str(out))


@pytest.fixture(scope="module")
def parts(name: str) -> list[Part]:
    """The demo's pictures and those of tests; for text, what text policies are certified and tested on."""
    if name == "default":
        files = [
            path for folder in ("stream", "test") for path in sorted((POLICIES / "pictures" / folder).glob("*.webp"))
        ]
        return [Part.image(path.read_bytes()) for path in files]
    lines = [
        line for path in sorted((POLICIES / "data").glob("*.test.jsonl")) for line in path.read_text().splitlines()
    ]
    return [Part.text(row["text"]) for row in map(json.loads, lines) if "text" in row]


def decide(encoder: Encoder, name: str, locks: Sequence[Lock], parts: Sequence[Part]) -> list[Decision]:
    embedders = {name: Embedder(encoder, MemoryCache(100_000_000))}
    items = [ContentItem(str(at), (part,)) for at, part in enumerate(parts)]
    return pipeline(Settings(), locks, embedders=embedders).decide(items)


def differences(sides: Sides, name: str, parts: Sequence[Part]) -> dict[str, float]:
    """By policy, the largest difference of a score."""
    locks = [lock for lock in LOCKS if lock.encoder == name]
    there, here = (decide(side, name, locks, parts) for side in sides)
    found = dict.fromkeys((lock.policy for lock in locks), 0.0)
    for left, right in zip(there, here, strict=True):
        for a, b in zip(left.verdicts, right.verdicts, strict=True):
            found[a.policy] = max(found[a.policy], abs(a.score - b.score))
    return found


def test_vectors_are_a_step_of_float16_apart(sides: Sides, name: str, parts: list[Part]) -> None:
    contents = [part.content for part in parts]
    if name == "default":
        phrases = sorted({phrase for lock in LOCKS if lock.encoder == name for phrase in lock.phrases})
        compared = [(one.encode_images(contents), one.encode_text(phrases)) for one in sides]
    else:
        compared = [(one.encode_text([content.decode() for content in contents]),) for one in sides]
    for there, here in zip(*compared, strict=True):
        assert there.errors == here.errors == {}
        assert np.abs(there.vectors.astype(np.float32) - here.vectors.astype(np.float32)).max() <= STEP[name]


def test_shipped_locks_decide_the_same_but_within_epsilon(sides: Sides, name: str, parts: list[Part]) -> None:
    locks = [lock for lock in LOCKS if lock.encoder == name]
    running = pipeline(Settings(), locks, embedders={name: Embedder(sides[1], MemoryCache(1))}).running.policies
    terms = {one.id: one.terms for one in running}
    assert all(0 < one.epsilon < 1e-3 for one in terms.values())
    there, here = (decide(side, name, locks, parts) for side in sides)
    near = far = 0
    for a, b in (
        pair
        for left, right in zip(there, here, strict=True)
        for pair in zip(left.verdicts, right.verdicts, strict=True)
    ):
        policy = terms[a.policy]
        if any(abs(b.score - cut.threshold) <= policy.epsilon for cut in policy.cuts):
            near += 1
            assert b.outcome in (Outcome.REVIEW, a.outcome)
        else:
            far += bool(policy.cuts)
            assert (a.outcome, a.action, a.error) == (b.outcome, b.action, b.error)
    assert near < 0.01 * far


def test_scores_are_near(sides: Sides, name: str, parts: list[Part]) -> None:
    assert max(differences(sides, name, parts).values()) <= NEAR


@pytest.mark.xfail(
    reason="the self-test measures ε on few inputs; some of many scores move up to six times as far (README)"
)
def test_epsilon_covers_every_score(sides: Sides, name: str, parts: list[Part]) -> None:
    found = differences(sides, name, parts)
    assert all(found[lock.policy] <= measure_epsilon(lock, sides[1]) for lock in LOCKS if lock.encoder == name)


def test_what_stands_on_a_threshold_goes_to_review(sides: Sides, name: str, parts: list[Part]) -> None:
    lock = next(lock for lock in LOCKS if lock.encoder == name and any(one.threshold for one in lock.actions))
    (score,) = (one.verdicts[0].score for one in decide(sides[0], name, [lock], parts[:1]))
    on_it = replace(lock, actions=(replace(lock.actions[0], action="remove", threshold=score),))
    there, here = (decide(side, name, [on_it], parts[:1])[0].verdicts[0] for side in sides)
    assert (there.outcome, there.action) == (Outcome.MATCH, "remove")
    assert (here.outcome, here.action) == (Outcome.REVIEW, "review")
