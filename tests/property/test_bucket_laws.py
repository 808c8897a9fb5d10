"""A vector hangs on its content and the bucket it ran in, and on nothing else: neighbours, position and padding move no bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moderation.encoder.base import Encoded
from moderation.encoder.checkpoint import load
from moderation.encoder.tokens import BATCH_BUCKETS, batch_sizes, length_bucket
from moderation.encoder.towers import LeanImageTower
from tests.unit.encoder import checkpoints
from tests.unit.encoder.pictures import jpeg

POOLS: dict[str, list[Any]] = {
    "image": [jpeg(40 + 7 * n, 60, seed=n) for n in range(12)],
    "text": [
        "a gun",
        "the cat",
        "dice",
        "a red gun and a cat",
        "a large green bottle of wine on the water",
        "",
        *"abc",
    ],
}
FAMILIES: dict[str, Callable[[Path], Any] | None] = {
    "bundled": None,
    "clip": checkpoints.clip,
    "siglip": checkpoints.siglip,
    "vit": lambda folder: checkpoints.dual(folder, "vit"),
}


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture(
    scope="module", params=[(name, dtype) for name in FAMILIES for dtype in ("float32", "bfloat16")], ids="-".join
)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name, dtype = request.param
    make = FAMILIES[name]
    if make is None:
        return load("bundled", device="cpu", dtype=dtype)
    folder = tmp_path_factory.mktemp(name)
    make(folder)
    return load(str(folder), device="cpu", dtype=dtype)


def buckets_of(encoder: Any, contents: Sequence[Any]) -> list[int]:
    """The batch size in which each row runs: pictures in order, texts with those of their padded length."""
    if not contents or isinstance(contents[0], bytes):
        groups = [list(range(len(contents)))]
    else:
        card = encoder.card.text
        padded = [length_bucket(encoder.count_tokens(text), card) for text in contents]
        groups = [[row for row, one in enumerate(padded) if one == length] for length in set(padded)]
    found = [0] * len(contents)
    for rows in groups:
        start = 0
        for count, size in batch_sizes(len(rows)):
            for row in rows[start : start + count]:
                found[row] = size
            start += count
    return found


def hangs_on_content_and_bucket_alone(encoder: Any, modality: str) -> None:
    """Any batch's vectors are those of their content in a bucket of nothing else."""
    encode: Callable[[Sequence[Any]], Encoded] = encoder.encode_images if modality == "image" else encoder.encode_text

    @cache
    def alone(content: Any, size: int) -> bytes:
        """The same at every position."""
        every = {vector.tobytes() for vector in encode([content] * size).vectors}
        assert len(every) == 1, f"{len(every)} vectors of one content in a bucket of {size}"
        return every.pop()

    @settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.sampled_from(POOLS[modality]), max_size=BATCH_BUCKETS[-1] + 9))
    def law(contents: list[Any]) -> None:
        found = encode(contents)
        assert not found.errors
        expected = [alone(content, size) for content, size in zip(contents, buckets_of(encoder, contents), strict=True)]
        assert [vector.tobytes() for vector in found.vectors] == expected

    law()


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_vector_hangs_on_its_content_and_its_bucket_alone(encoder: Any, modality: str) -> None:
    # Two threads that wait for each other spin, on a busy machine for long: they are for the tower that is ours.
    for count in (1, 2) if isinstance(encoder.image.tower, LeanImageTower) else (1,):
        with threads(count):  # how many there are may move bits, too
            hangs_on_content_and_bucket_alone(encoder, modality)
