"""Laws of a head: a vector's score is its own, whatever stands beside it; it rises with the raw margin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.detector.head import Head, score_many
from moderation.detector.remembered import Remembered
from moderation.detector.steepness import steepness
from moderation.detector.tiles import TILE_ROWS, to_float32


def unit(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_head(rng: np.random.Generator, level: str, violating: int, contrast: int, width: int) -> Head:
    count = violating + contrast
    higher = level != "L0"
    return Head(
        level=level,
        violating=unit(rng, violating, width),
        contrast=unit(rng, contrast, width),
        gain=rng.uniform(5, 20, count) if higher else np.ones(count),
        offset=rng.normal(0, 0.05, count) if higher else np.zeros(count),
        sharpness=1.5 if higher else 40.0,
        centre=0.1 if higher else 0.0,
        scale=0.7 if higher else 0.05,
        probe=unit(rng, 1, width)[0].astype(np.float64) * 9 if level == "L3" else None,
        bias=-0.3 if level == "L3" else 0.0,
        floor=1.0 if higher else 0.0,
        anchor=np.array([0.4]) if level == "L3" else None,
        remembered=Remembered(unit(rng, 9, width), rng.normal(0, 0.5, 9), np.array([4.0])) if level == "L2" else None,
        weights=rng.uniform(0, 1, count) * rng.integers(0, 2, count) if level == "L5" else None,
    )


LEVELS = ["L0", "L1", "L2", "L3", "L5"]
levels = st.sampled_from(LEVELS)


@given(
    seed=st.integers(0, 10_000),
    level=levels,
    rows=st.integers(1, 3 * TILE_ROWS + 5),
    width=st.sampled_from([3, 64, 256, 384, 512, 768]),
    violating=st.integers(1, 20),
    contrast=st.integers(1, 20),
)
def test_a_score_does_not_depend_on_order_company_batch_size_or_other_policies(  # noqa: PLR0917
    seed: int, level: str, rows: int, width: int, violating: int, contrast: int
) -> None:
    rng = np.random.default_rng(seed)
    head = make_head(rng, level, violating, contrast, width)
    others = [make_head(rng, other, 1 + seed % 11, 3, width) for other in LEVELS]
    vectors = unit(rng, rows, width).astype(np.float16)
    alone = head.score(vectors)

    order = rng.permutation(rows)
    moved = head.score(vectors[order])
    np.testing.assert_array_equal(moved.values, alone.values[order])
    np.testing.assert_array_equal(moved.nearest, alone.nearest[order])

    before, after = rng.integers(0, 130, 2)
    crowd = np.concatenate([unit(rng, before, width), vectors.astype(np.float32), unit(rng, after, width)])
    for threads in (1, 2):
        *_, within = score_many([*others, head], crowd.astype(np.float16), threads=threads)
        np.testing.assert_array_equal(within.values[before : before + rows], alone.values)
        np.testing.assert_array_equal(within.nearest[before : before + rows], alone.nearest)

    row = int(rng.integers(rows))
    assert head.score(vectors[row : row + 1]).values[0] == alone.values[row]


def test_threads_over_many_blocks_change_no_bit() -> None:
    rng = np.random.default_rng(5)
    heads = [make_head(rng, level, 9, 12, 32) for level in LEVELS]
    vectors = unit(rng, 70_001, 32).astype(np.float16)
    single = score_many(heads, vectors, threads=1)
    for threads in (2, 3, 7):
        for one, other in zip(single, score_many(heads, vectors, threads=threads), strict=True):
            np.testing.assert_array_equal(one.values, other.values)
            np.testing.assert_array_equal(one.nearest, other.nearest)
    np.testing.assert_array_equal(heads[1].score(vectors[69_990:]).values, single[1].values[69_990:])


@given(seed=st.integers(0, 10_000), level=levels)
def test_scores_lie_in_the_unit_interval_on_the_grid_and_rise_with_the_raw_margin(seed: int, level: str) -> None:
    rng = np.random.default_rng(seed)
    head = make_head(rng, level, 5, 7, 64)
    vectors = unit(rng, 200, 64).astype(np.float16)
    values, raw = head.score(vectors).values, head.raw(vectors)
    assert values.dtype == np.float64
    assert ((values >= 0) & (values <= 1)).all()
    np.testing.assert_array_equal(values, np.round(values, 6))
    ascending = values[np.argsort(raw, kind="stable")]
    assert (np.diff(ascending) >= 0).all()
    standard = (raw - head.centre) / head.scale
    np.testing.assert_allclose(values, 1 / (1 + np.exp(-standard)), atol=6e-7)


@pytest.mark.parametrize("level", LEVELS)
def test_the_score_is_what_the_words_say_it_is(level: str) -> None:
    rng = np.random.default_rng(1)
    head = make_head(rng, level, 4, 3, 96)
    vectors = unit(rng, 50, 96).astype(np.float16)
    x = vectors.astype(np.float64)
    phrases = np.concatenate([head.violating, head.contrast]).astype(np.float64)
    weighed = head.gain * (x @ phrases.T - head.offset)
    sharp = head.sharpness
    violating, contrast = (np.exp(sharp * part).mean(axis=1) for part in np.split(weighed, [4], axis=1))
    raw = np.log(violating / (contrast + head.floor)) / sharp
    if head.probe is not None and head.anchor is not None:
        raw = head.anchor[0] * raw + x @ head.probe + head.bias
    if head.remembered is not None:
        cosines = x @ head.remembered.vectors.T.astype(np.float64)
        raw = raw + np.exp(head.remembered.sharpness * (cosines - 1)) @ head.remembered.votes
    if head.weights is not None:
        shown = head.weights * np.log1p(np.exp(sharp * weighed)) / sharp * np.repeat([1.0, -1.0], [4, 3])
        raw, weighed = head.bias + shown.sum(axis=1), shown
        np.testing.assert_allclose(head.contributions(vectors), shown, atol=2e-5)
    np.testing.assert_allclose(head.raw(vectors), raw, atol=2e-5)
    np.testing.assert_array_equal(head.score(vectors).nearest, weighed[:, :4].argmax(axis=1))


def test_what_phrases_contribute_does_not_depend_on_company_and_is_only_known_where_they_add_up() -> None:
    rng = np.random.default_rng(2)
    head, vectors = make_head(rng, "L5", 5, 7, 48), unit(rng, 1100, 48).astype(np.float16)
    together = head.contributions(vectors)
    for row in (0, 63, 64, 1023, 1024, 1099):
        np.testing.assert_array_equal(head.contributions(vectors[row : row + 1])[0], together[row])
    with pytest.raises(ValueError, match="expected L5"):
        make_head(rng, "L3", 2, 2, 48).contributions(vectors)


def test_the_fast_cast_is_exact_for_every_finite_half() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)][None]
    out = np.empty(finite.shape, np.float32)
    to_float32(finite, out)
    np.testing.assert_array_equal(out.view(np.uint32), finite.astype(np.float32).view(np.uint32))


def test_no_rows_are_no_scores() -> None:
    head = make_head(np.random.default_rng(0), "L1", 2, 2, 16)
    scored = head.score(np.empty((0, 16), np.float16))
    assert scored.values.shape == scored.nearest.shape == (0,)


@pytest.mark.parametrize(
    "vectors", [np.zeros((3, 16), np.float32), np.zeros((3, 15), np.float16), np.zeros(16, np.float16)]
)
def test_vectors_of_another_type_or_width_are_refused(vectors: np.ndarray) -> None:
    head = make_head(np.random.default_rng(0), "L0", 2, 2, 16)
    with pytest.raises(ValueError, match=r"expected float16 \[n, 16\]"):
        head.score(vectors)


@given(seed=st.integers(0, 10_000), level=levels, violating=st.integers(1, 8), contrast=st.integers(1, 8))
def test_no_margin_moves_further_than_the_steepness_says(seed: int, level: str, violating: int, contrast: int) -> None:
    """From anywhere to anywhere, and from the phrases and exemplars, where a head is steepest, a little inwards."""
    rng = np.random.default_rng(seed)
    head = make_head(rng, level, violating, contrast, 16)
    ends = [head.violating, head.contrast, unit(rng, 20, 16), *([head.remembered.vectors] if head.remembered else [])]
    start = np.concatenate(ends).astype(np.float16)
    for share in (0.05, 0.3, 1.0):
        stop = ((1 - share) * start + share * rng.uniform(0, 1) * unit(rng, len(start), 16)).astype(np.float16)
        far = np.linalg.norm(start.astype(np.float64) - stop.astype(np.float64), axis=1)
        # Rounding makes vectors a little longer than 1, and margins are sums of float32.
        assert (np.abs(head.raw(start) - head.raw(stop)) <= 1.002 * steepness(head) * far + 1e-4).all()


def single(level: str) -> Head:
    """A head whose gradient is known: phrases of length 1 along the first two axes, a probe along the third, an exemplar along the fourth."""
    axes = np.eye(4, dtype=np.float32)
    parts: dict[str, object] = {}
    if level == "L2":
        parts = {"remembered": Remembered(axes[3:], np.array([5.0]), np.array([0.01]))}
    if level == "L3":
        parts = {"probe": 3.0 * axes[2].astype(np.float64), "anchor": np.array([2.0])}
    if level == "L5":
        parts = {"weights": np.array([7.0, 2.0])}
    return Head(level, axes[:1], axes[1:2], np.ones(2), np.full(2, -30.0), 1.0, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "expected"),
    [("L0", 2**0.5), ("L1", 2**0.5), ("L2", 2**0.5 + 0.05), ("L3", (8 + 9) ** 0.5), ("L5", (49 + 4) ** 0.5)],
)
def test_the_steepness_is_reached(level: str, expected: float) -> None:
    head = single(level)
    assert steepness(head) == pytest.approx(expected)
    across = np.array([[1.0, -1.0, 0.0, 0.0], [7.0, -2.0, 0.0, 0.0], [2.0, -2.0, 3.0, 0.0]])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    moved = head.raw((across / 2).astype(np.float16)) - head.raw((-across / 2).astype(np.float16))
    assert moved.max() == pytest.approx(expected - (0.05 if level == "L2" else 0.0), rel=0.01)
