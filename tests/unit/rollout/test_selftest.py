"""ε on another kind of machine: measured on the lock's golden inputs, or refused with the reason."""

from __future__ import annotations

import functools
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from moderation.compiler.compile import compile_policy
from moderation.decision import Outcome, Score
from moderation.detector.head import Head
from moderation.detector.head_check import NUMBERS
from moderation.detector.linear import ImportedDetector, LinearHead, PromptHead
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded, Encoder
from moderation.encoder.checkpoint import load
from moderation.encoder.tokens import BATCH_BUCKETS
from moderation.errors import LockError
from moderation.item import Modality
from moderation.policy.decide import Finding, judge
from moderation.policy.lock import Lock, read_lock
from moderation.rollout.locks import put_in_force
from moderation.rollout.selftest import CONFIDENCE, SHARE, advice, eta, measure_epsilon, unpromised
from moderation.settings import USUAL_ENCODERS
from tests.conftest import ROOT
from tests.fakes import ACTIONS, FakeDetector, FakeEncoder, at, golden, lock, plugins_with
from tests.property.test_head import LEVELS, make_head
from tests.unit.compiler.recorded import make_policy

POLICIES = ROOT / "policies"
PHRASES = [f"phrase {number}" for number in range(6)]


def golden_lock(**changes: object) -> Lock:
    arrays = {**lock().arrays, "golden": at(0.7)[None].astype(np.float16)}
    return lock(**{"arrays": arrays, "phrases": ("0.7",), **changes})


def without(name: str) -> dict[str, object]:
    return {key: array for key, array in golden_lock().arrays.items() if key != name}


class OtherPictures(FakeEncoder):
    """Reads text as ever; every picture comes out a little nearer to the violations."""

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        found = super().encode_images(images).vectors + np.float32(0.01) * at(1.0)
        return Encoded((found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16), {})


class Blind(FakeEncoder):
    """Cannot decode a PNG."""

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return super().encode_images([b"no picture"] * len(images))


class Noisy(FakeEncoder):
    """Vectors of 256 numbers that hang on the content alone, but for a normal error before they are rounded: a numeric class's own, and a batch size's."""

    def __init__(self, numeric: str, *, noise: float) -> None:
        super().__init__(numeric=numeric)
        self.card, self.noise = self.card.model_copy(update={"width": 256}), noise

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return Encoded(self._vectors(images).astype(np.float16), {})

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        return Encoded(self._vectors([text.encode() for text in texts]).astype(np.float16), {})

    def _vectors(self, contents: Sequence[bytes]) -> Any:
        where = f"{self.fingerprint.numeric} {len(contents) > 1}".encode()
        return np.stack([units(content) + self.noise * normal(content + where) for content in contents])


@functools.cache  # the same items are asked of every level and every noise, and drawing them is what takes the time
def normal(content: bytes) -> Any:
    drawn = np.random.default_rng([*hashlib.sha256(content).digest()]).standard_normal(256)
    drawn.flags.writeable = False
    return drawn


@functools.cache
def units(content: bytes) -> Any:
    return normal(content) / np.linalg.norm(normal(content))


def noisy_lock(phrases: Sequence[str], level: str, **changes: Any) -> Lock:
    """A lock with a random head of a level, made in the numeric class `there`; its golden inputs are these phrases."""
    head = make_head(np.random.default_rng(len(phrases)), level, 6, 7, 256)
    golden = Noisy("there", noise=changes.pop("noise", 0.0)).encode_text(phrases).vectors
    changes = {"phrases": tuple(phrases), "width": 256, "level": level, "modalities": (Modality.TEXT,), **changes}
    return lock(arrays={**head.to_arrays(), "golden": golden}, **changes)


def elsewhere(jitter: float = 0.0) -> FakeEncoder:
    return FakeEncoder(numeric="elsewhere", jitter=jitter)


def test_the_same_numbers_leave_what_so_few_inputs_cannot_show() -> None:
    """None of a few numbers moved, so one in many may; the more golden inputs say so, the less."""
    few, many = (tuple(f"phrase {number}" for number in range(count)) for count in (10, 200))
    found = [measure_epsilon(noisy_lock(phrases, "L0"), Noisy("same", noise=0.0)) for phrases in (few, many)]
    assert 0 < 2 * found[1] < found[0] < 1e-3


def test_epsilon_grows_with_the_difference_and_covers_it() -> None:
    phrases = tuple(f"0.{tenths}" for tenths in range(1, 9))
    eight = {"violating": np.tile(at(1.0), (8, 1)).astype(np.float32), "gain": np.ones(9), "offset": np.zeros(9)}
    golden = FakeEncoder().encode_text(phrases).vectors
    made = golden_lock(phrases=phrases, arrays={**golden_lock().arrays, **eight, "golden": golden})
    small, large = (measure_epsilon(made, elsewhere(jitter)) for jitter in (0.002, 0.01))
    assert 0 < small < large < 0.5
    embedder = Embedder(elsewhere(0.01), MemoryCache(1_000_000))
    running = put_in_force([made], embedders={"default": embedder}, plugins=plugins_with(), actions=ACTIONS)
    head = running.detectors["weapons"].detector.head  # type: ignore[attr-defined]
    for cosine in (0.2, 0.5, 0.7, 0.9):
        vectors = np.stack([at(cosine), at(cosine + 0.01)]).astype(np.float16)
        there, here = head.score(vectors).values
        assert abs(there - here) <= large


def test_epsilon_is_ten_deviations_of_what_moved_where_that_is_more_than_independent_numbers_would() -> None:
    class Towards(Noisy):
        """Moves every vector the same way, along the head's steepest."""

        def _vectors(self, contents: Sequence[bytes]) -> Any:
            return super()._vectors(contents) + 0.003 * (made.arrays["violating"][0] - made.arrays["contrast"][0])

    made = noisy_lock(PHRASES, "L0")
    head, here = Head.from_arrays(made.level, made.arrays), Towards("towards", noise=0.0)
    moved = head.raw(made.arrays["golden"]) - head.raw(here.encode_text(made.phrases).vectors)
    measured = 10 * float(np.sqrt(np.mean(moved**2))) / (4 * head.scale)
    assert measured == pytest.approx(measure_epsilon(made, here), rel=0.05)


@pytest.mark.parametrize("noise", [2e-8, 1e-7, 1e-6, 1e-4, 2e-4])
@pytest.mark.parametrize("level", LEVELS)
def test_fewer_items_than_promised_move_further_than_epsilon(level: str, noise: float) -> None:
    """Six golden phrases, whatever the level; errors that move one number in hundreds by a step, and errors that move them all."""
    made = noisy_lock(PHRASES, level, noise=noise)
    sides = Noisy("there", noise=noise), Noisy("here", noise=noise)
    texts, head = [f"item {number}" for number in range(1000)], Head.from_arrays(made.level, made.arrays)
    full = [side.encode_text(texts).vectors for side in sides]
    alone = np.concatenate([sides[1].encode_text([text]).vectors for text in texts])
    scores, epsilon = [head.score(vectors).values for vectors in (*full, alone)], measure_epsilon(made, sides[1])
    for one, other in combinations(scores, 2):
        assert np.mean(np.abs(one - other) > epsilon) <= SHARE
    assert epsilon < 300 * max(np.abs(one - other).max() for one, other in combinations(scores, 2))


@pytest.mark.parametrize("noise", [3e-8, 1e-6, 2e-5, 1e-4])
def test_eta_is_below_the_truth_as_seldom_as_it_says(noise: float) -> None:
    there, here = Noisy("there", noise=0.0), Noisy("here", noise=noise)
    runs = 400
    truth, low = noise * math.sqrt(2 / math.pi), 0
    for run in range(runs):
        texts = [f"{run} {number}" for number in range(8)]
        low += eta(there.encode_text(texts).vectors, here.encode_text(texts).vectors) < truth
    assert low <= binom.ppf(0.999, runs, 1 - CONFIDENCE)


@pytest.mark.parametrize("every", [60, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("encoder", ["default", "text"])
def test_fewer_shipped_contents_than_promised_move_further_than_epsilon_from_one_batch_to_another(
    encoder: str, every: int
) -> None:
    loaded = load(USUAL_ENCODERS[encoder].checkpoint, device="cpu")
    if encoder == "default":
        pictures = [path.read_bytes() for path in sorted((POLICIES / "pictures").rglob("*.webp"))[::every]]
        full, *alone = (loaded.encode_images(batch) for batch in batches(pictures))
    else:
        lines = [line for path in (POLICIES / "data").glob("*.jsonl") for line in path.read_text().splitlines()]
        texts = sorted({row["text"] for row in map(json.loads, lines) if "text" in row})[::every]
        full, *alone = (loaded.encode_text(batch) for batch in batches(texts))
    assert not any(one.errors for one in (full, *alone))
    single = np.concatenate([one.vectors for one in alone])
    if (full.vectors == single).all():
        pytest.skip("needs a processor on which vectors move with their company")
    for made in (read_lock(path) for path in sorted(POLICIES.glob("*.lock.json"))):
        if made.encoder == encoder:
            head = Head.from_arrays(made.level, made.arrays)
            moved = np.abs(head.score(full.vectors).values - head.score(single).values)
            assert np.mean(moved > measure_epsilon(made, loaded)) <= SHARE, made.policy


def batches(contents: list[Any]) -> list[list[Any]]:
    """All in full batches, then each alone."""
    return [contents, *([one] for one in contents)]


class NearlyTheSame:
    """An encoder on another machine: its vectors differ in their last bits."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self.card = encoder, encoder.card
        self.fingerprint = replace(encoder.fingerprint, numeric="elsewhere")

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        return self._encoder.encode_text(texts)

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return Encoded(np.nextafter(self._encoder.encode_images(images).vectors, np.float16(1)), {})

    def count_tokens(self, text: str) -> int:
        return self._encoder.count_tokens(text)


def test_a_lock_for_pictures_runs_elsewhere_within_an_epsilon_and_is_refused_in_another_precision() -> None:
    """From compiler to pipeline with the bundled encoder: what is compiled is what the self-test asks for."""

    def running(encoder: Encoder) -> float:
        embedders = {"default": Embedder(encoder, MemoryCache(1_000_000))}
        found = put_in_force([made], embedders=embedders, plugins=plugins_with(), actions=("allow", "review", "remove"))
        return found.policies[0].terms.epsilon

    here, coarse = load("bundled", device="cpu"), load("bundled", device="cpu", dtype="bfloat16")
    made = compile_policy(make_policy(), Embedder(here, MemoryCache(1_000_000)))
    assert running(here) == 0.0
    assert 0.0 < measure_epsilon(made, here) < 5e-4  # what two batches make of one picture
    assert 0.0 < running(NearlyTheSame(here)) < 0.1
    with pytest.raises(LockError, match=r"a golden picture has cosine 0\.99") as caught:
        running(coarse)
    assert str(caught.value).endswith(advice(made))
    assert "moderation policy compile" in advice(made)
    assert "(torch-cpu-float32): encoders.default.dtype" in advice(made)


def test_another_numeric_class_runs_with_its_epsilon_and_sends_close_calls_to_review() -> None:
    embedders = {"default": Embedder(elsewhere(0.002), MemoryCache(1_000_000))}
    running = put_in_force([golden_lock()], embedders=embedders, plugins=plugins_with(), actions=ACTIONS)
    terms = running.policies[0].terms
    assert terms.epsilon == measure_epsilon(golden_lock(), elsewhere(0.002))
    close = judge(terms, [Finding("p", Score("weapons", 0.9))], parts=1, order=ACTIONS)
    assert (close.outcome, close.action) == (Outcome.REVIEW, "review")


def test_a_difference_in_pictures_alone_counts_and_only_where_pictures_are_judged() -> None:
    nothing = measure_epsilon(golden_lock(), elsewhere())
    assert measure_epsilon(golden_lock(), OtherPictures()) > nothing
    assert measure_epsilon(golden_lock(modalities=(Modality.TEXT,)), OtherPictures()) == nothing


@pytest.mark.parametrize(
    ("changes", "encoder", "message"),
    [
        ({}, FakeEncoder(modalities=("image",)), "reads no text"),
        ({"arrays": without("golden")}, FakeEncoder(), "array 'golden' is missing"),
        ({"arrays": without("golden_pictures")}, FakeEncoder(), "array 'golden_pictures' is missing"),
        (
            {"arrays": {**golden_lock().arrays, "golden_pictures": -golden()}},
            FakeEncoder(),
            "a golden picture has cosine -1",
        ),
        ({}, Blind(), "a golden picture cannot be encoded here: unsupported_input"),
        ({"phrases": ("-0.7",)}, FakeEncoder(), "with its golden vector; expected > 0.999"),
    ],
)
def test_without_sound_golden_inputs_the_lock_is_refused(
    changes: dict[str, object], encoder: FakeEncoder, message: str
) -> None:
    with pytest.raises(LockError, match="policy 'weapons': the lock was built on fake") as refused:
        measure_epsilon(golden_lock(**changes), encoder)
    assert message in str(refused.value)


class Crowded(Noisy):
    """Errs in full batches alone."""

    def _vectors(self, contents: Sequence[bytes]) -> Any:
        full = len(contents) >= BATCH_BUCKETS[-1]
        return super()._vectors(contents) if full else np.stack([units(content) for content in contents])


def test_what_only_a_full_batch_does_to_vectors_is_seen() -> None:
    made = noisy_lock(PHRASES, "L0")
    quiet, crowded = (measure_epsilon(made, Crowded("here", noise=noise)) for noise in (0.0, 1e-4))
    assert crowded > 10 * quiet


def third_party(head: LinearHead | PromptHead) -> ImportedDetector:
    return ImportedDetector("taste", ("taste",), frozenset(Modality), head, "fake")


def flat_lock(**changes: Any) -> Lock:
    """One whose own score hardly moves."""
    made = noisy_lock(PHRASES, "L0", **changes)
    numbers = made.arrays["numbers"].copy()
    numbers[NUMBERS.index("scale")] = 1e6
    return replace(made, arrays={**made.arrays, "numbers": numbers})


@pytest.mark.parametrize("noise", [1e-6, 2e-4])
@pytest.mark.parametrize(
    "head",
    [
        LinearHead(40.0 * units(b"weight"), 0.0),
        LinearHead(40.0 * units(b"weight"), 0.0, (5.0, -5.0)),
        PromptHead(np.stack([units(b"one"), units(b"other"), units(b"third")]), scale=30.0),
    ],
)
def test_epsilon_holds_for_scores_of_third_parties_heads_too(head: LinearHead | PromptHead, noise: float) -> None:
    made, sides = flat_lock(noise=noise), (Noisy("there", noise=noise), Noisy("here", noise=noise))
    texts = [f"item {number}" for number in range(1000)]
    moved = np.abs(np.subtract(*[head.score(side.encode_text(texts).vectors) for side in sides]))
    alone, epsilon = measure_epsilon(made, sides[1]), measure_epsilon(made, sides[1], [third_party(head)])
    assert np.mean(moved > epsilon) <= SHARE
    assert np.mean(moved > alone) > SHARE  # which is what ε was before, of the lock's own head


def test_epsilon_of_a_head_that_moves_with_its_encoder_is_what_it_was_seen_to_move() -> None:
    """Where errors point along the head, independent numbers would not explain it."""
    weight = units(b"weight")

    class Towards(Noisy):
        def _vectors(self, contents: Sequence[bytes]) -> Any:
            return super()._vectors(contents) + 0.003 * weight

    head, made = LinearHead(3.0 * weight, 0.0), flat_lock()
    here = Towards("towards", noise=0.0)
    moved = head.score(made.arrays["golden"]) - head.score(here.encode_text(made.phrases).vectors)
    measured = float(np.sqrt(np.mean(moved**2)) / np.sqrt(SHARE / 2))
    assert measure_epsilon(made, here, [third_party(head)]) == pytest.approx(measured, rel=0.1)


def test_who_states_a_steepness_is_promised_for_and_who_states_none_is_named() -> None:
    made, here = flat_lock(noise=1e-4), Noisy("here", noise=1e-4)
    silent, steep = FakeDetector("silent"), FakeDetector("steep", steepness=10.0)
    alone, with_silent, with_steep = (measure_epsilon(made, here, others) for others in ((), [silent], [steep]))
    assert alone == with_silent < with_steep / 100
    assert unpromised([silent, steep, third_party(LinearHead(np.ones(8), 0.0))]) == ["silent"]


def test_of_the_detectors_beside_a_policys_own_those_that_hang_on_vectors_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    detectors = (
        FakeDetector("words", steepness=9.0),  # sees no vectors
        FakeDetector("seeing", needs_embeddings=True, steepness=2.0),
        FakeDetector("blend", needs_scores=("seeing",), steepness=5.0),  # by what others see
        FakeDetector("silent", needs_embeddings=True),
    )

    def epsilon(*named: str, numeric: str = "elsewhere") -> float:
        caplog.clear()
        embedder = Embedder(FakeEncoder(numeric=numeric), MemoryCache(1_000_000))
        running = put_in_force(
            [golden_lock(detectors=named)],
            embedders={"default": embedder},
            plugins=plugins_with(*detectors),
            actions=ACTIONS,
        )
        return running.policies[0].terms.epsilon

    own, seeing, blend = epsilon(), epsilon("seeing"), epsilon("blend")
    assert own == epsilon("words") < seeing < blend
    assert not caplog.records
    assert epsilon("silent") == own
    assert (
        "policy weapons: was certified on fake and runs on elsewhere; detector silent judges by vectors" in caplog.text
    )
    assert epsilon("silent", numeric="fake") == 0.0
    assert "was certified on" not in caplog.text
