"""Golden pictures: what a lock keeps of them depends on the encoder alone, and shows how far another machine's scores lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from moderation.compiler.compile import compile_policy
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded, Encoder, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.encoder.checkpoint import load
from moderation.policy.lock import Lock
from moderation.rollout.locks import put_in_force
from tests.fakes import ACTIONS, plugins_with
from tests.unit.compiler.recorded import make_policy
from tests.unit.encoder.pictures import encoded, picture


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load("bundled", device="cpu")


@pytest.fixture(autouse=True)
def as_many_threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def compiled(encoder: Encoder) -> Lock:
    """The lock of a policy about pictures, made of vectors of its own."""
    return compile_policy(make_policy(), Embedder(encoder, MemoryCache(10_000_000)))


def test_the_lock_is_the_same_on_any_number_of_threads(encoder: Encoder) -> None:
    locks = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        locks.append(compiled(encoder))
        assert torch.get_num_threads() == threads
    assert len({lock.revision for lock in locks}) == 1
    assert {lock.level for lock in locks} == {"L0"}


@dataclass(frozen=True)
class Elsewhere:
    """The encoder as another kind of machine runs it: every number of a vector a little otherwise."""

    encoder: Encoder

    @property
    def card(self) -> EncoderCard:
        return self.encoder.card

    @property
    def fingerprint(self) -> Fingerprint:
        return replace(self.encoder.fingerprint, numeric="elsewhere")

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return self._moved(self.encoder.encode_images(images))

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        return self.encoder.encode_text(texts)

    def count_tokens(self, text: str) -> int:
        return self.encoder.count_tokens(text)

    def _moved(self, encoded: Encoded) -> Encoded:
        noise = np.random.default_rng(0).normal(0.0, 1e-3, encoded.vectors.shape)
        vectors = encoded.vectors + noise
        return replace(encoded, vectors=(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16))


def test_a_lock_runs_in_another_numeric_class_with_an_epsilon_that_covers_its_scores(encoder: Encoder) -> None:
    lock, other = compiled(encoder), Elsewhere(encoder)
    assert epsilon(lock, encoder) == 0.0
    assert 0.0 < epsilon(lock, other) < 0.2
    head, files = Head.from_arrays(lock.level, lock.arrays), [encoded(picture(70, 60, seed=seed)) for seed in range(8)]
    there, here = (head.score(one.encode_images(files).vectors).values for one in (encoder, other))
    assert 0.0 < np.abs(there - here).max() <= epsilon(lock, other)


def epsilon(lock: Lock, encoder: Encoder) -> float:
    """What decisions with this lock on this encoder allow for."""
    embedders = {"default": Embedder(encoder, MemoryCache(1_000_000))}
    (running,) = put_in_force([lock], embedders=embedders, plugins=plugins_with(), actions=ACTIONS).policies
    return running.terms.epsilon
