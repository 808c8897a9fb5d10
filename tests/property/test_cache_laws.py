"""Laws of the embedding cache: keys never collide, values come back whole or not at all."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from moderation.embedding.cache import cache_key, unpack
from moderation.encoder.base import Fingerprint
from moderation.item import Modality
from tests.fakes import packed

# Separators, escapes and what looks like parts of other keys, on purpose.
awkward = st.one_of(st.text(max_size=12), st.text("/%-2F:emb imagetxt\n\0é\ud800", max_size=12))
facts = st.tuples(awkward, awkward, awkward, awkward, st.sampled_from(Modality), awkward)


def key(parts: tuple[str, str, str, str, Modality, str]) -> str:
    prefix, tenant, identity, numeric, modality, digest = parts
    return cache_key(
        prefix=prefix, tenant=tenant, fingerprint=Fingerprint(identity, numeric), modality=modality, digest=digest
    )


@given(facts, facts)
def test_different_facts_have_different_keys(left: tuple, right: tuple) -> None:
    assert (key(left) == key(right)) == (left == right)


@given(facts, st.integers(0, 5), awkward)
def test_changing_one_fact_changes_the_key(parts: tuple, at: int, value: str) -> None:
    other = list(parts)
    other[at] = Modality.TEXT if at == 4 else value
    assume(tuple(other) != parts)
    assert key(parts) != key(tuple(other))  # type: ignore[arg-type]


@given(st.lists(awkward, min_size=6, max_size=6), st.integers(0, 2))
def test_moving_a_separator_changes_the_key(parts: list[str], at: int) -> None:
    """a/b + c and a + b/c must not meet."""
    left, right = list(parts), list(parts)
    left[at] += "/"
    right[at + 1] = "/" + right[at + 1]
    built = [key((*one[:4], Modality.IMAGE, one[5])) for one in (left, right)]  # type: ignore[arg-type]
    assert built[0] != built[1]


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_different_content_has_different_keys(left: bytes, right: bytes) -> None:
    keys = [
        key(("emb", "t", "i", "n", Modality.IMAGE, hashlib.sha256(content).hexdigest())) for content in (left, right)
    ]
    assert (keys[0] == keys[1]) == (left == right)


@given(facts)
def test_a_key_is_printable_and_has_six_parts(parts: tuple) -> None:
    assert key(parts).isascii()
    assert key(parts).isprintable() or key(parts) == ""
    assert key(parts).count("/") == 5


def unit(seed: int, width: int) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=width)
    return (vector / np.linalg.norm(vector)).astype(np.float16)


seeds, widths = st.integers(0, 10**6), st.integers(1, 600)


@given(seeds, widths)
def test_a_value_comes_back_to_the_last_bit(seed: int, width: int) -> None:
    vector = unit(seed, width)
    (found,), sound = unpack([packed(vector)], width)
    assert sound.tolist() == [True]
    assert (found.dtype, found.tobytes()) == (np.dtype(np.float16), vector.tobytes())


@given(seeds, widths, st.data())
def test_a_flipped_bit_is_a_miss(seed: int, width: int, data: st.DataObject) -> None:
    value = bytearray(packed(unit(seed, width)))
    at = data.draw(st.integers(0, 8 * len(value) - 1))
    value[at // 8] ^= 1 << at % 8
    assert not unpack([bytes(value)], width)[1].any()


@given(seeds, widths, st.data())
def test_a_cut_or_longer_value_is_a_miss(seed: int, width: int, data: st.DataObject) -> None:
    value = packed(unit(seed, width))
    assert not unpack([value[: data.draw(st.integers(0, len(value) - 1))]], width)[1].any()
    assert not unpack([value[data.draw(st.integers(1, len(value))) :]], width)[1].any()
    assert not unpack([value + data.draw(st.binary(min_size=1, max_size=9))], width)[1].any()


@given(st.binary(max_size=300), widths)
def test_arbitrary_bytes_are_a_miss(value: bytes, width: int) -> None:
    assert not unpack([value], width)[1].any()


@given(st.lists(st.one_of(seeds, st.binary(max_size=300)), max_size=8), widths)
def test_what_a_value_holds_does_not_hang_on_those_beside_it(given_: list[int | bytes], width: int) -> None:
    values = [packed(unit(one, width)) if isinstance(one, int) else one for one in given_]
    vectors, sound = unpack(values, width)
    assert (vectors.shape, sound.tolist()) == ((len(values), width), [isinstance(one, int) for one in given_])
    for one, vector in zip(given_, vectors, strict=True):
        assert vector.tobytes() == (unit(one, width).tobytes() if isinstance(one, int) else bytes(2 * width))
