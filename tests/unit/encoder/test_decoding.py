"""Decoding ahead: each picture once, in order, whatever is asked early; what nobody asks for is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.encoder import decoding
from moderation.encoder.card import ImageCard
from moderation.encoder.decoding import Decoder, Recipe
from moderation.encoder.preprocess import Pixels, fit
from moderation.errors import ItemError
from moderation.settings import ImageLimits
from tests.unit.encoder.pictures import jpeg

RECIPE = Recipe(ImageCard(size=16, mean=(0.5,) * 3, std=(0.5,) * 3), ImageLimits(), "exact")
FILES = [*(jpeg(seed=n) for n in range(6)), b"no picture"]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded, in the order of its beginning."""
    seen: list[bytes] = []
    check = decoding.images.check
    monkeypatch.setattr(
        decoding.images, "check", lambda content, limits: (seen.append(content), check(content, limits))[1]
    )
    return seen


def everything(decoder: Decoder, contents: Sequence[bytes], ahead: int = 4) -> list[Pixels | ItemError]:
    return [one.result() for one in decoder.decoded(contents, RECIPE, ahead=ahead)]


def expected(content: bytes) -> Pixels | None:
    return fit(decoding.images.decode(content, RECIPE.limits), RECIPE.card) if content != b"no picture" else None


@given(
    early=st.lists(st.sampled_from(FILES), max_size=9),
    asked=st.lists(st.sampled_from(FILES), max_size=9),
    ahead=st.integers(0, 12),
)
def test_what_is_asked_early_changes_no_pixel_and_no_order(early: list[bytes], asked: list[bytes], ahead: int) -> None:
    decoder = Decoder(2)
    decoder.prepare(early, RECIPE)
    found = everything(decoder, asked, ahead)
    assert len(found) == len(asked)
    for content, one in zip(asked, found, strict=True):
        pixels = expected(content)
        assert isinstance(one, ItemError) if pixels is None else np.array_equal(np.asarray(one), pixels)


def test_no_more_are_begun_than_who_asks_is_to_be_ahead_of(decoded: list[bytes]) -> None:
    """Pixels of all of a long folder would not fit into memory."""
    decoder = Decoder(1)
    for number, one in enumerate(decoder.decoded(FILES, RECIPE, ahead=2), start=1):
        one.result()
        decoder._pool.submit(int).result()  # once what was begun is done
        assert len(set(decoded)) == min(number + 2, len(FILES))


def test_a_picture_that_was_begun_early_is_decoded_once(decoded: list[bytes]) -> None:
    decoder = Decoder(2)
    decoder.prepare(FILES[:4], RECIPE)
    decoder.prepare(FILES[:4], RECIPE)
    everything(decoder, FILES[:5])
    assert {content: decoded.count(content) for content in FILES[:5]} == dict.fromkeys(
        FILES[:5], 2
    )  # `decode` checks, too


def test_early_ones_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_MOST_EARLY", 3)
    now = 0.0
    monkeypatch.setattr(decoding.time, "monotonic", lambda: now)
    decoder = Decoder(1)
    decoder.prepare(FILES, RECIPE)
    assert list(decoder._early) == FILES[:3]
    now = decoding._EARLY_SECONDS + 1
    decoder.prepare(FILES[3:4], RECIPE)
    assert list(decoder._early) == FILES[3:4]
    assert decoder._early_bytes == len(FILES[3])
    everything(decoder, FILES[3:4])
    assert (decoder._early_bytes, len(decoder._early)) == (0, 0)
    monkeypatch.setattr(decoding, "_MOST_EARLY_BYTES", len(FILES[0]) + 1)
    decoder.prepare(FILES[:2], RECIPE)
    assert list(decoder._early) == FILES[:1]
    decoder._pool.shutdown()  # what it still decodes is not for the next test to see


def test_threads_decode_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are inside at a time, or the barrier breaks."""
    together = threading.Barrier(2)
    decode = decoding.images.decode

    def met(content: bytes, limits: ImageLimits, *, scale: int) -> object:
        together.wait(20)
        return decode(content, limits, scale=scale)

    monkeypatch.setattr(decoding.images, "decode", met)
    assert all(isinstance(one, np.ndarray) for one in everything(Decoder(2), FILES[:2]))
