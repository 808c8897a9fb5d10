from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from moderation.encoder.locate import locate
from moderation.encoder.tokens import TextTokenizer
from moderation.encoder.wordpiece import WordPieces
from tests.unit.encoder.test_tokens import CLIP

BUNDLED = locate("bundled")
CARD = CLIP.model_copy(update={"context_length": 40})
FACTS = [
    "[CLS] [SEP]",
    "[PAD][MASK]",
    "Ünïcode 😀\u200bx",
    "fire-arms, 9mm!",
    "日本語 text",
    "a" * 101,
    "\x00\ufffd\u200d",
    "ß ﬁ İ",
    "",
]


@cache
def both() -> tuple[TextTokenizer, TextTokenizer]:
    ours = WordPieces.read(BUNDLED)
    assert ours is not None
    theirs = transformers.AutoTokenizer.from_pretrained(BUNDLED, local_files_only=True)
    return TextTokenizer(ours, CARD), TextTokenizer(theirs, CARD)


@given(st.lists(st.text() | st.sampled_from(FACTS), max_size=4))
def test_its_ids_are_transformers_own(texts: list[str]) -> None:
    ours, theirs = both()
    assert ours.batch(texts) == theirs.batch(texts)


def test_it_pads_as_transformers_does() -> None:
    ours, theirs = both()
    assert ours.padding_id == theirs.padding_id


def in_config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: rewritten(folder / "tokenizer_config.json", lambda said: said.update(changes))


def in_file(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: rewritten(folder / "tokenizer.json", change)


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def with_another_token(spec: dict[str, Any]) -> None:
    spec["model"]["vocab"]["gun shot"] = len(spec["model"]["vocab"])
    spec["added_tokens"].append(
        {**spec["added_tokens"][0], "id": len(spec["model"]["vocab"]) - 1, "content": "gun shot"}
    )


@pytest.mark.parametrize(
    "change",
    [
        in_config(tokenizer_class="PreTrainedTokenizerFast"),
        in_config(do_lower_case=False),
        in_config(strip_accents=False),
        in_config(cls_token="[SEP]"),
        in_config(additional_special_tokens=["gun"]),
        in_file(with_another_token),
        in_file(lambda spec: spec["normalizer"].update(lowercase=False)),
        in_file(lambda spec: spec["model"].update(max_input_chars_per_word=5)),
        in_file(lambda spec: spec.update(truncation={"max_length": 2, "strategy": "LongestFirst", "stride": 0, "direction": "Right"})),
        lambda folder: (folder / "vocab.txt").write_text("a\n"),
        lambda folder: (folder / "special_tokens_map.json").write_text("{}"),
    ],
)  # fmt: skip
def test_what_is_unusual_is_left_to_transformers(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = shutil.copytree(BUNDLED, tmp_path / "encoder")
    assert WordPieces.read(folder) is not None
    change(folder)
    assert WordPieces.read(folder) is None


@pytest.mark.parametrize(
    "change",
    [
        in_file(lambda spec: spec.pop("model")),
        in_file(lambda spec: spec.update(model=[])),
        in_file(lambda spec: spec["model"]["vocab"].pop("[SEP]")),
        in_file(lambda spec: spec["model"]["vocab"].update(gun="7")),
        in_file(lambda spec: spec["model"]["vocab"].update({"\ud800": 9600})),
        lambda folder: (folder / "tokenizer.json").unlink(),
        lambda folder: (folder / "tokenizer_config.json").unlink(),
    ],
)  # fmt: skip
def test_files_that_are_broken_are_left_to_transformers(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = shutil.copytree(BUNDLED, tmp_path / "encoder")
    change(folder)
    assert WordPieces.read(folder) is None
