"""ε on another kind of machine: measured on the lock's golden inputs, or refused with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from moderation.compiler.compile import compile_policy
from moderation.compiler.golden import golden_pictures
from moderation.decision import Outcome, Score
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded, Encoder
from moderation.encoder.checkpoint import load
from moderation.errors import LockError
from moderation.item import Modality
from moderation.policy.decide import Finding, judge
from moderation.policy.lock import Lock
from moderation.rollout.locks import put_in_force
from moderation.rollout.selftest import advice, measure_epsilon
from tests.fakes import ACTIONS, FakeEncoder, at, golden, lock, plugins_with
from tests.unit.compiler.recorded import make_policy


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


def elsewhere(jitter: float = 0.0) -> FakeEncoder:
    return FakeEncoder(numeric="elsewhere", jitter=jitter)


def test_the_same_numbers_make_an_epsilon_of_nothing() -> None:
    assert measure_epsilon(golden_lock(), elsewhere()) == 0.0


def test_epsilon_grows_with_the_difference_and_covers_it() -> None:
    made = golden_lock()
    small, large = (measure_epsilon(made, elsewhere(jitter)) for jitter in (0.002, 0.01))
    assert 0 < small < large < 0.5
    embedder = Embedder(elsewhere(0.01), MemoryCache(1_000_000))
    running = put_in_force([made], embedders={"default": embedder}, plugins=plugins_with(), actions=ACTIONS)
    head = running.detectors["weapons"].detector.head  # type: ignore[attr-defined]
    for cosine in (0.2, 0.5, 0.7, 0.9):
        vectors = np.stack([at(cosine), at(cosine + 0.01)]).astype(np.float16)
        there, here = head.score(vectors).values
        assert abs(there - here) <= large


def test_epsilon_is_four_times_the_largest_difference_at_the_steepest_slope_rounded_up() -> None:
    made, here = golden_lock(), elsewhere(0.002)
    head = Head.from_arrays(made.level, made.arrays)
    moved = (here.encode_text(made.phrases).vectors, here.encode_images(list(golden_pictures())).vectors)
    there = (made.arrays["golden"], made.arrays["golden_pictures"])
    differences = [np.abs(head.raw(a) - head.raw(b)).max() for a, b in zip(there, moved, strict=True)]
    exact = 4.0 * max(differences) / (4.0 * head.scale)
    assert exact <= measure_epsilon(made, here) < exact + 1e-6


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
    assert measure_epsilon(made, here) < 1e-4  # a lock is made on one thread, which moves last bits
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
    assert measure_epsilon(golden_lock(), OtherPictures()) > 0.0
    assert measure_epsilon(golden_lock(modalities=(Modality.TEXT,)), OtherPictures()) == 0.0


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
