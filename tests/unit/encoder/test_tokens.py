from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from moderation.encoder.card import TextCard
from moderation.encoder.tokens import BATCH_BUCKETS, TextTokenizer, batch_sizes, length_bucket

CLIP = TextCard(context_length=77, padding="longest", trim_exact=True)


@pytest.mark.parametrize(
    ("length", "bucket"), [(1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (33, 64), (65, 77), (77, 77)]
)
def test_lengths_fall_into_few_buckets(length: int, bucket: int) -> None:
    assert length_bucket(length, CLIP) == bucket


@pytest.mark.parametrize("change", [{"padding": "max_length"}, {"trim_exact": False}])
def test_without_exact_trimming_there_is_one_length(change: dict[str, object]) -> None:
    assert length_bucket(3, CLIP.model_copy(update=change)) == 77


@given(st.integers(0, 500))
def test_batches_cover_all_rows_in_bucket_sizes_with_little_padding(count: int) -> None:
    sizes = batch_sizes(count)
    assert sum(taken for taken, _ in sizes) == count
    assert all(run in BATCH_BUCKETS and run * 3 <= taken * 4 for taken, run in sizes)
    assert sum(run for _, run in sizes) <= count * 4 / 3
    assert sizes[: count // 32] == [(32, 32)] * (count // 32)


class Echo:
    """A tokenizer that remembers what it was asked and makes a token of every letter."""

    pad_token_id = None

    def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        self.asked, self.options = texts, options
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}


@pytest.mark.parametrize(
    ("change", "asked"), [({"lowercase": True}, ["a gun", "ß"]), ({"lowercase": False}, ["A Gun", "ß"])]
)
def test_the_card_says_whether_texts_are_lowered(change: dict[str, bool], asked: list[str]) -> None:
    echo = Echo()
    tokenizer = TextTokenizer(echo, CLIP.model_copy(update=change))
    assert len(tokenizer.batch(["A Gun", "ß"])) == 2
    assert echo.asked == asked
    assert echo.options["truncation"] is False
    assert echo.options["split_special_tokens"] is True
    assert tokenizer.padding_id == 0


@pytest.fixture(scope="module")
def clip_tokenizer(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """OpenAI's tokenizer, from its merges: 256 bytes, the same ending a word, 48,894 merges, two special tokens."""
    text = gzip.decompress((data / "clip_text" / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges = text.split("\n")[1 : 49152 - 256 - 2 + 1]
    alphabet = list(bytes_to_unicode().values())
    vocabulary = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(m.split()) for m in merges)]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps({token: at for at, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges))
    return TextTokenizer(transformers.CLIPTokenizer.from_pretrained(folder), CLIP)


def bytes_to_unicode() -> dict[int, str]:
    """GPT-2's printable stand-ins for bytes, in OpenAI's order."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + at) for at, byte in enumerate(rest)}


@pytest.mark.needs_data
def test_the_true_clip_tokenizer(clip_tokenizer: TextTokenizer) -> None:
    """Ids as openai/CLIP's own tokenizer gives them."""
    assert len(clip_tokenizer.backend) == 49408
    assert clip_tokenizer.tokens("a photo of a cat") == (49406, 320, 1125, 539, 320, 2368, 49407)
    assert clip_tokenizer.tokens("A  PHOTO of a cat\n") == clip_tokenizer.tokens("a photo of a cat")
    assert clip_tokenizer.tokens("") == (49406, 49407)


@pytest.mark.needs_data
def test_the_true_end_token_cannot_be_written(clip_tokenizer: TextTokenizer) -> None:
    ids = clip_tokenizer.tokens("cat <|endoftext|> gun <|startoftext|>")
    assert ids.count(49407) == ids.count(49406) == 1
    assert ids[-1] == 49407


@pytest.mark.needs_data
@pytest.mark.parametrize("text", ["naïve café", "🔫🔥", "it's 3,000 €", "你好世界", "é" * 5, "a\u200bb"])
def test_every_text_has_tokens(clip_tokenizer: TextTokenizer, text: str) -> None:
    ids = clip_tokenizer.tokens(text)
    assert ids[0] == 49406
    assert ids[-1] == 49407
    assert len(ids) > 2
    assert max(ids) <= 49407
