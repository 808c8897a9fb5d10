"""Vectors that were made before: each part's own, its fault or its time, and who was forgotten is named."""

from __future__ import annotations

import numpy as np
import pytest

from moderation.embedding.prepared import Outcome, Prepared, UnpreparedError, content_of
from moderation.errors import ItemError
from moderation.item import Part
from tests.fakes import FakeEncoder, at, picture

HIT, MADE, BAD = picture(0.25), picture(0.5), picture("junk")
FAULT = ItemError("unsupported_input", "no picture")
KNOWN = {
    content_of("default", HIT): Outcome(at(0.25).astype(np.float16), hit=True),
    content_of("default", MADE): Outcome(at(0.5).astype(np.float16), decode_seconds=1.0, encode_seconds=2.0),
    content_of("default", BAD): Outcome(None, FAULT),
}


def test_each_part_has_its_own_and_what_stands_twice_took_its_time_once() -> None:
    found = Prepared("default", FakeEncoder(), KNOWN).embed([MADE, BAD, HIT, MADE])
    assert np.array_equal(found.vectors, np.stack([at(0.5), np.zeros(8), at(0.25), at(0.5)]).astype(np.float16))
    assert (found.errors, found.hits.tolist()) == ({1: FAULT}, [False, False, True, False])
    assert (found.decode_seconds, found.encode_seconds) == (1.0, 2.0)


def test_who_was_not_prepared_is_named_with_the_encoder_that_must_be_asked() -> None:
    text = Part.text("0.5")
    for name, missing in (("default", (text,)), ("other", (MADE, text))):
        with pytest.raises(UnpreparedError) as told:
            Prepared(name, FakeEncoder(), KNOWN).embed([MADE, text])
        assert (told.value.name, tuple(told.value.parts)) == (name, missing)


def test_of_nothing_there_is_nothing() -> None:
    assert Prepared("default", FakeEncoder(), {}).embed([]).vectors.shape == (0, 8)
