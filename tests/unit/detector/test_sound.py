"""Lengths of vectors, quickly: as numpy has them, and what is not finite stays so."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from moderation.detector.sound import is_sound, lengths
from tests.unit.history.kept import unit


@given(st.integers(0, 3000), st.integers(0, 100))
def test_lengths_are_numpys(count: int, seed: int) -> None:
    vectors = unit(count, 8, seed) * np.float16(1 + seed % 3)
    assert np.allclose(lengths(vectors), np.linalg.norm(vectors.astype(np.float32), axis=1), rtol=1e-6)


def test_what_is_not_finite_has_no_length_and_is_not_sound() -> None:
    vectors = unit(4)
    vectors[1, 2], vectors[2, 0], vectors[3] = np.nan, -np.inf, 0
    found = lengths(vectors)
    assert (np.isnan(found[1]), found[2], found[3]) == (True, np.inf, 0)
    assert is_sound(found).tolist() == [True, False, False, False]
