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
from numpy.typing import NDArray

from moderation.assemble import pipeline
from moderation.decision import Decision, Outcome
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder import checkpoint
from moderation.encoder.base import Encoder, Vectors
from moderation.item import ContentItem, Part
from moderation.policy.lock import Lock, read_lock
from moderation.rollout.selftest import SHARE, measure_epsilon
from moderation.settings import USUAL_ENCODERS, Settings

POLICIES = Path(__file__).resolve().parents[3] / "policies"
LOCKS = [read_lock(path) for path in sorted(POLICIES.glob("*.lock.json"))]
# One step of float16 for numbers below a quarter, which all of these vectors' differing numbers are; measured.
STEP = {"default": 1.3e-4, "text": 1.3e-4}
# The largest difference of a score; measured: 9.0e-5 for pictures, 3.1e-5 for texts.
NEAR = 2e-4
Sides = tuple[Encoder, Encoder]
# By policy, how far each score moves to ONNX Runtime, float64 [2, n]: from torch alone, and from torch in full batches.
Moves = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="module", params=["default", pytest.param("text", marks=pytest.mark.soak)])
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
    """Some of the demo's pictures and of those of tests; for text, what text policies are tested on."""
    if name == "default":
        return [Part.image(path.read_bytes()) for at in ("stream", "test") for path in files(at)][::4]
    return [Part.text(text) for text in texts("*.test")]


@pytest.fixture(scope="module")
def moves(sides: Sides, name: str, parts: list[Part]) -> Moves:
    return differences(sides, name, [part.content for part in parts])


def files(folder: str) -> list[Path]:
    return sorted((POLICIES / "pictures" / folder).glob("*.webp"))


def texts(manifests: str) -> list[str]:
    """Every text once that the text encoder reads, of the policies' manifests with such names."""
    lines = [
        line
        for path in sorted((POLICIES / "data").glob(f"{manifests}.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return list(dict.fromkeys(row["text"] for row in map(json.loads, lines) if "text" in row))


def decide(encoder: Encoder, name: str, locks: Sequence[Lock], parts: Sequence[Part]) -> list[Decision]:
    embedders = {name: Embedder(encoder, MemoryCache(100_000_000))}
    items = [ContentItem(str(at), (part,)) for at, part in enumerate(parts)]
    return pipeline(Settings(), locks, embedders=embedders).decide(items)


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


def test_scores_are_near(moves: Moves) -> None:
    assert max(moved.max() for moved in moves.values()) <= NEAR


def test_fewer_contents_than_promised_move_further_than_epsilon(sides: Sides, moves: Moves) -> None:
    promised(sides, moves)


@pytest.mark.soak
def test_fewer_of_all_that_is_shipped_than_promised_move_further_than_epsilon(sides: Sides, name: str) -> None:
    folders = [path.name for path in (POLICIES / "pictures").iterdir() if path.is_dir()]
    pictures = [path.read_bytes() for folder in sorted(folders) for path in files(folder)]
    promised(sides, differences(sides, name, pictures if name == "default" else [one.encode() for one in texts("*")]))


def promised(sides: Sides, moves: Moves) -> None:
    """Of each policy's scores no larger share than SHARE moves further than ε."""
    for lock in (lock for lock in LOCKS if lock.policy in moves):
        assert np.mean(moves[lock.policy] > measure_epsilon(lock, sides[1]), axis=1).max() <= SHARE, lock.policy


def differences(sides: Sides, name: str, contents: Sequence[bytes]) -> Moves:
    torch, onnx = sides
    each, whole = [[one] for one in contents], [contents]
    vectors = [encoded(torch, name, each), encoded(torch, name, whole), encoded(onnx, name, whole)]
    found = {}
    for lock in (lock for lock in LOCKS if lock.encoder == name):
        alone, full, here = (Head.from_arrays(lock.level, lock.arrays).score(one).values for one in vectors)
        found[lock.policy] = np.abs([alone - here, full - here])
    return found


def encoded(side: Encoder, name: str, batches: Sequence[Sequence[bytes]]) -> Vectors:
    if name == "default":
        found = [side.encode_images(batch) for batch in batches]
    else:
        found = [side.encode_text([one.decode() for one in batch]) for batch in batches]
    assert not any(one.errors for one in found)
    return np.concatenate([one.vectors for one in found])


def test_what_stands_on_a_threshold_goes_to_review(sides: Sides, name: str, parts: list[Part]) -> None:
    lock = next(lock for lock in LOCKS if lock.encoder == name and any(one.threshold for one in lock.actions))
    (score,) = (one.verdicts[0].score for one in decide(sides[0], name, [lock], parts[:1]))
    on_it = replace(lock, actions=(replace(lock.actions[0], action="remove", threshold=score),))
    there, here = (decide(side, name, [on_it], parts[:1])[0].verdicts[0] for side in sides)
    assert (there.outcome, there.action) == (Outcome.MATCH, "remove")
    assert (here.outcome, here.action) == (Outcome.REVIEW, "review")
