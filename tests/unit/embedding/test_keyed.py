"""Vectors found again by key: rows, faults and hits belong to the part they were asked for."""

from __future__ import annotations

import numpy as np

from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.embedding.keyed import KeyedVectors
from moderation.item import Modality, Part
from tests.fakes import FakeEncoder, at, picture


def test_every_key_finds_its_own_vector_fault_and_hit() -> None:
    embedder = Embedder(FakeEncoder(), MemoryCache(1_000_000))
    parts = {
        "bad text": Part(Modality.TEXT, b"\xff"),
        "first": picture(0.25),
        "bad picture": picture("junk"),
        "second": Part.text("0.75"),
    }
    found = KeyedVectors(embedder, parts)
    faults = {key: fault.reason for key in parts if (fault := found.fault(key))}
    assert faults == {"bad text": "unsupported_input", "bad picture": "unsupported_input"}
    expected = np.stack([at(0.75), at(0.25)]).astype(np.float16)
    assert np.array_equal(found.take(["second", "first"]), expected)
    assert found.take([]).shape == (0, 8)
    assert [one in found for one in ("first", "elsewhere", "bad text")] == [True, False, True]
    assert found.fingerprint == "0123456789abcdef/fake"
    again = KeyedVectors(embedder, parts)
    assert {key: again.hit(key) for key in parts} == {
        "bad text": False,
        "first": True,
        "bad picture": False,
        "second": True,
    }
