"""An item near to a threshold is decided by its own vector, made alone: no decision hangs on what else was in a batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation import assemble
from moderation.decision import Decision, Score
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Alone, Embedder
from moderation.encoder.base import Encoded
from moderation.encoder.recorded import NOT_RECORDED
from moderation.errors import EncoderError, ItemError
from moderation.item import Part
from moderation.pipeline import Pipeline
from moderation.policy.decide import Finding, is_close, judge
from moderation.rollout.company import measure_company
from moderation.rollout.locks import terms_of
from moderation.settings import Settings
from tests.fakes import FakeDetector, FakeEncoder, Swayed, always, item, lock, picture, plugins_with

NEAR = st.floats(0.703, 0.711) | st.floats(0.918, 0.926)  # cosines on both sides of the fakes' two thresholds


def pipeline(encoder: Swayed, *locks: Any, detectors: Sequence[FakeDetector] = ()) -> Pipeline:
    embedders = {"default": Embedder(encoder, MemoryCache(10**6))}
    made = assemble.pipeline(Settings(), locks or (lock(),), embedders=embedders, known=plugins_with(*detectors))
    encoder.sizes.clear()
    return made


def decided(made: Pipeline, cosines: Sequence[float]) -> list[Decision]:
    return made.decide([item(picture(one), id=str(one)) for one in cosines])


def told(decisions: Sequence[Decision]) -> list[tuple[Any, ...]]:
    return [(one.item_id, one.proposed, one.verdicts[0].outcome, one.verdicts[0].action) for one in decisions]


@given(st.lists(NEAR, min_size=2, max_size=40, unique=True), st.randoms(use_true_random=False))
def test_no_decision_hangs_on_company(cosines: list[float], chance: Any) -> None:
    apart = pipeline(Swayed())
    alone = {id_: rest for one in cosines for id_, *rest in told(decided(apart, [one]))}
    mixed = pipeline(Swayed())
    for _ in range(3):  # hits and misses, in other batches each time
        chance.shuffle(cosines)
        cut = chance.randint(1, len(cosines))
        for batch in (cosines[:cut], cosines[cut:]):
            assert {id_: rest for id_, *rest in told(decided(mixed, batch))} == {
                str(one): alone[str(one)] for one in batch
            }


def test_without_a_second_look_company_would_decide() -> None:
    """What the test above would find, if nobody looked again."""
    blind = pipeline(Swayed())
    blind.running = replace(
        blind.running,
        policies=tuple(replace(one, terms=replace(one.terms, company=0.0)) for one in blind.running.policies),
    )
    cosines = np.linspace(0.703, 0.711, 30).tolist()
    apart = pipeline(Swayed())
    assert told(decided(blind, cosines)) != [told(decided(apart, [one]))[0] for one in cosines]


def test_only_what_is_near_is_encoded_again_and_it_is_remembered() -> None:
    encoder = Swayed()
    made = pipeline(encoder)
    cosines = [0.1, 0.3, 0.7071, 0.95]
    first = decided(made, cosines)
    assert encoder.sizes == [4, 1]
    assert told(decided(made, cosines)) == told(first)
    assert encoder.sizes == [4, 1]
    assert not first[2].cache_hit


def test_who_sees_vectors_is_asked_again_and_nobody_else() -> None:
    eyes = FakeDetector("eyes", always(0.2, "seen"), labels=("seen",), needs_embeddings=True)
    words = FakeDetector("words", always(0.2, "read"), labels=("read",))
    made = pipeline(Swayed(), lock(detectors=("eyes", "words")), detectors=(eyes, words))
    decided(made, [0.1, 0.7071])
    assert [len(batch) for batch in eyes.batches] == [2, 1]
    assert [len(batch) for batch in words.batches] == [2]


def test_who_weighs_what_eyes_saw_is_asked_again_with_all_its_sources() -> None:
    eyes = FakeDetector("eyes", always(0.2, "seen"), labels=("seen",), needs_embeddings=True)
    words = FakeDetector("words", always(0.2, "read"), labels=("read",))
    judge = FakeDetector("judge", always(0.2, "sum"), labels=("sum",), needs_scores=("eyes", "words"))
    made = pipeline(Swayed(), lock(detectors=("judge",)), detectors=(eyes, words, judge))
    decided(made, [0.1, 0.7071])
    assert [[len(batch) for batch in one.batches] for one in (eyes, words, judge)] == [[2, 1]] * 3


def test_a_part_that_is_not_near_to_anything_is_left_as_it_is() -> None:
    encoder = Swayed()
    made = pipeline(encoder, lock(modalities=("image", "text")))
    made.decide([item(picture(0.2), Part.text("0.1"), id="a"), item(Part.text("0.95"), id="b")])
    assert 1 not in encoder.sizes[2:]


def test_an_encoder_that_errs_alone_is_an_error_and_no_allowance() -> None:
    class Broken(Swayed):
        broken = False

        def encode_images(self, images: Sequence[bytes]) -> Encoded:
            if self.broken and list(images) == [b"0.7071"]:
                raise RuntimeError
            return super().encode_images(images)

    encoder = Broken()
    made = pipeline(encoder)
    encoder.broken = True
    near, far = decided(made, [0.7071, 0.1])
    assert (near.verdicts[0].outcome, near.verdicts[0].error) == ("error", "encoder_error")
    assert far.verdicts[0].outcome == "no_match"


def test_company_is_what_was_measured_and_never_nothing() -> None:
    def company(sway: float) -> float:
        return measure_company(lock(), Embedder(Swayed(sway), MemoryCache(10)))

    assert 0 < company(0.0) < company(2e-3) < company(2e-2)


@pytest.mark.parametrize("wrong", ["raises", "no number"])
def test_an_encoder_that_fails_when_it_is_tried_is_told_of_before_anything_is_decided(wrong: str) -> None:
    class Broken(FakeEncoder):
        def encode_images(self, images: Sequence[bytes]) -> Encoded:
            if wrong == "raises":
                raise RuntimeError("a secret")
            return Encoded(np.full((len(images), self.card.width), np.nan, np.float16), {})

    with pytest.raises(EncoderError, match="made content") as told:
        measure_company(lock(), Embedder(Broken(), MemoryCache(10)))
    assert "secret" not in str(told.value)


@pytest.mark.parametrize("size", [2, 8, 32])
def test_company_of_every_size_is_measured(size: int) -> None:
    class Once(Swayed):
        def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
            self.sway = 2e-3 if len(contents) == size else 0.0
            return super()._encode(contents, pictures=pictures)

    still = measure_company(lock(), Embedder(Swayed(0.0), MemoryCache(10)))
    assert measure_company(lock(), Embedder(Once(), MemoryCache(10))) > 5 * still


class Short(Swayed):
    """Reads so many words and no more, as a context of tokens has it; `sometimes` only where they are alone."""

    def __init__(self, words: int, *, sometimes: bool = False) -> None:
        super().__init__()
        self.words, self.sometimes = words, sometimes

    def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
        made = super()._encode(contents, pictures=pictures)
        words = self.words if len(contents) == 1 or not self.sometimes else 1
        long = {
            row: ItemError("text_too_long", "a secret") for row, one in enumerate(contents) if len(one.split()) > words
        }
        return Encoded(made.vectors, {**made.errors, **long})


def test_a_text_over_the_context_is_left_out_of_the_measure_of_company_and_ends_it_not() -> None:
    texts = lock(modalities=("text",))
    whole, short = (measure_company(texts, Embedder(Short(words), MemoryCache(10))) for words in (100, 14))
    assert short == pytest.approx(whole, rel=0.5)
    for none in (Short(0), Short(14, sometimes=True)):
        with pytest.raises(
            EncoderError, match="fails on every made text, or on a batch of them: text_too_long"
        ) as told:
            measure_company(texts, Embedder(none, MemoryCache(10)))
        assert "secret" not in str(told.value)


def test_a_recording_needs_no_made_content() -> None:
    class Recording(FakeEncoder):
        def encode_images(self, images: Sequence[bytes]) -> Encoded:
            missing = dict.fromkeys(range(len(images)), ItemError(NOT_RECORDED, "no vector of this"))
            return Encoded(np.zeros((len(images), self.card.width), np.float16), missing)

    assert measure_company(lock(), Embedder(Recording(), MemoryCache(10))) <= 1e-6


def test_company_is_measured_once_for_an_embedder() -> None:
    encoder = Swayed()
    embedder = Embedder(encoder, MemoryCache(10))
    first = measure_company(lock(), embedder)
    calls = len(encoder.sizes)
    assert measure_company(lock("other"), embedder) == first
    assert len(encoder.sizes) == calls


def test_what_is_made_alone_is_kept_apart_and_forgotten_with_the_rest() -> None:
    embedder = Embedder(FakeEncoder(), MemoryCache(10**6))
    part = picture(0.5)
    one, other = embedder.key(part), Alone.of(embedder).key(part)
    assert one != other
    assert one.rpartition("/")[2] == other.rpartition("/")[2] == part.digest  # what erasure looks for


def test_scores_may_be_asked_for_alone() -> None:
    encoder = Swayed()
    made = pipeline(encoder)
    items = [item(picture(one)) for one in (0.1, 0.2, 0.3)]
    together, apart = made.score(items), made.score(items, alone=True)
    assert encoder.sizes == [3, 1, 1, 1]
    assert together != apart


@pytest.mark.parametrize("epsilon", [0.0, 0.01])
def test_near_is_near_to_every_place_where_something_changes(epsilon: float) -> None:
    order = ("allow", "review", "remove")
    terms = terms_of(lock(), actions=order, epsilon=epsilon, company=0.001)

    def at(value: float) -> list[Finding]:
        return [Finding("0", Score("weapons", value))]

    values = np.round(np.arange(0.0, 1.0, 0.0005), 6).tolist()
    for one, other in itertools.pairwise(values):
        a, b = (judge(terms, at(value), parts=1, order=order) for value in (one, other))
        if (a.outcome, a.action) != (b.outcome, b.action):
            assert is_close(terms, at(one))
            assert is_close(terms, at(other))
    assert not is_close(terms, at(0.3))


def test_what_is_encoded_alone_counts_in_the_time_that_an_item_took() -> None:
    class Decoding(Swayed):
        """Says that each picture takes a second to decode."""

        def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
            return replace(super()._encode(contents, pictures=pictures), decode_seconds=float(len(contents)))

    made = pipeline(Decoding())
    for cosines, seconds in (([0.1, 0.3], 2.0), ([0.2, 0.7071, 0.31], 4.0)):
        decisions = decided(made, cosines)
        assert sum(one.timing.decode for one in decisions) == pytest.approx(seconds)
    assert all(one.timing.detect > 0 for one in decisions)
