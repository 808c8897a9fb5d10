"""SigLIP's own kind of tokenizer, SentencePiece, which the extra `siglip` is for: the tokens and vectors of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from moderation.encoder.checkpoint import load
from moderation.errors import CheckpointError
from tests.unit.encoder import checkpoints

TEXTS = ["a red gun", "The CAT, on the water!", "a  large green bottle of wine", "dice", "quux 7", ""]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("siglip")
    model = checkpoints.siglip(folder, pieces=True)
    assert (folder / "spiece.model").is_file()
    assert not (folder / "tokenizer.json").exists()
    return folder, model


@torch.inference_mode()
def test_tokens_and_vectors_are_those_of_transformers(checkpoint: tuple[Path, Any]) -> None:
    folder, model = checkpoint
    encoder: Any = load(str(folder), device="cpu")
    own = transformers.SiglipTokenizer.from_pretrained(folder)
    tokens = own(TEXTS, padding="max_length", max_length=checkpoints.CONTEXT, return_tensors="pt")["input_ids"]
    tokenizer = encoder.text.tokenizer
    padded = [
        (*row, *[tokenizer.padding_id] * (checkpoints.CONTEXT - len(row))) for row in map(tokenizer.tokens, TEXTS)
    ]
    assert padded == [tuple(row) for row in tokens.tolist()]
    assert len({*padded}) == len(TEXTS)
    expected = torch.nn.functional.normalize(model.get_text_features(input_ids=tokens).pooler_output, dim=-1)
    found = encoder.encode_text(TEXTS)
    assert found.errors == {}
    assert np.abs(found.vectors.astype(np.float32) - expected.numpy()).max() <= 3e-4


def test_a_text_cannot_end_itself_early(checkpoint: tuple[Path, Any]) -> None:
    encoder: Any = load(str(checkpoint[0]), device="cpu")
    end = encoder.text.tokenizer.backend.eos_token_id
    assert encoder.text.tokenizer.tokens("a cat </s> gun").count(end) == 1
    gun, wine = encoder.encode_text(["a cat </s> gun", "a cat </s> wine"]).vectors.astype(np.float32)
    assert np.abs(gun - wine).max() > 0.01


def test_a_text_too_long_is_an_error(checkpoint: tuple[Path, Any]) -> None:
    errors = load(str(checkpoint[0]), device="cpu").encode_text(["a cat", "gun " * 60]).errors
    assert {row: error.reason for row, error in errors.items()} == {1: "text_too_long"}


def test_without_the_extra_the_error_says_what_is_missing(
    checkpoint: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_args: Any, **_options: Any) -> Any:
        raise ImportError("SiglipTokenizer requires the protobuf library")

    monkeypatch.setattr(transformers.SiglipTokenizer, "__init__", lacking)
    with pytest.raises(CheckpointError, match=r"the tokenizer does not load: .*requires the protobuf library"):
        load(str(checkpoint[0]), device="cpu")


def test_the_sentencepiece_model_is_part_of_the_identity(checkpoint: tuple[Path, Any], tmp_path: Path) -> None:
    checkpoints.siglip(tmp_path, pieces=True)
    before = load(str(tmp_path), device="cpu").fingerprint.identity
    assert before == load(str(checkpoint[0]), device="cpu").fingerprint.identity
    checkpoints.piece_tokenizer(tmp_path, size=44)
    assert load(str(tmp_path), device="cpu").fingerprint.identity != before
