"""What the torch backend's own tests ask of an encoder, asked of a small CLIP on ONNX Runtime: rows, errors, company, buckets, threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from moderation_onnx.encoder import load

from moderation.encoder.base import Encoder
from tests.property.test_bucket_laws import hangs_on_content_and_bucket_alone
from tests.unit.encoder.pictures import jpeg
from tests.unit.encoder.test_clip import (  # noqa: F401  they run here, on the encoder below
    TEXTS,
    test_a_text_cannot_end_itself_early,
    test_a_text_that_is_not_unicode_is_an_error,
    test_a_text_too_long_is_an_error_never_cut,
    test_an_empty_batch,
    test_at_most_two_large_pictures_are_decoded_at_a_time,
    test_bad_rows_are_errors_and_the_others_go_on,
    test_company_and_order_change_nothing_beyond_epsilon,
    test_equal_batches_give_equal_bytes,
    test_large_pictures_wait_for_each_other_and_come_out,
    test_tokens_are_counted_with_the_special_ones,
    test_towers_run_bucket_sizes_only,
    test_what_comes_out,
)


@pytest.fixture(scope="module")
def encoder(made: Path) -> Encoder:
    return load(str(made / "export"))


def test_many_callers_at_once_get_what_one_alone_gets(encoder: Encoder) -> None:
    images = [jpeg(seed=n) for n in range(9)]
    alone = (encoder.encode_images(images).vectors, encoder.encode_text(TEXTS).vectors)
    with ThreadPoolExecutor(4) as pool:
        pictures = [pool.submit(encoder.encode_images, images) for _ in range(6)]
        texts = [pool.submit(encoder.encode_text, TEXTS) for _ in range(6)]
    assert all(np.array_equal(one.result().vectors, alone[0]) for one in pictures)
    assert all(np.array_equal(one.result().vectors, alone[1]) for one in texts)


@pytest.mark.parametrize("modality", ["image", "text"])
def test_a_vector_hangs_on_its_content_and_its_bucket_alone(encoder: Encoder, modality: str) -> None:
    hangs_on_content_and_bucket_alone(encoder, modality)
