"""BERT's tokenizer without transformers, where its files say no more than what transformers would build of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from moderation.encoder.derive import read_json

_SPECIAL = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
_USUAL = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True, **_SPECIAL}
_CLASSES = ("BertTokenizer", "BertTokenizerFast")
# Bookkeeping, and what nobody here asks a tokenizer for: length and cutting are a card's.
_IDLE = {"backend", "tokenizer_class", "is_local", "local_files_only", "model_max_length"}
_MORE_FILES = ("added_tokens.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, slots=True)
class WordPieces:
    """Called as transformers' own is, for ids alone, and gives the same."""

    tokenizer: Tokenizer
    pad_token_id: int

    @classmethod
    def read(cls, folder: Path) -> WordPieces | None:
        """The tokenizer of a folder; None where it is of another kind, or anything about it is unusual."""
        said, file = folder / "tokenizer_config.json", folder / "tokenizer.json"
        if not (said.is_file() and file.is_file()) or any((folder / name).exists() for name in _MORE_FILES):
            return None
        spec = read_json(file)
        model = spec.get("model")
        vocab = model.get("vocab") if isinstance(model, dict) else None
        if not (_is_usual(read_json(said)) and isinstance(vocab, dict) and vocab.keys() >= set(_SPECIAL.values())):
            return None
        try:
            made = _built(vocab)
        except Exception:  # noqa: BLE001  such as an id that is no number: transformers says what is wrong
            return None
        if json.loads(made.to_str()) != spec:
            return None
        made.encode_special_tokens = True  # "[SEP]" in a text is text
        return cls(made, vocab["[PAD]"])

    def get_vocab(self) -> Mapping[str, int]:
        """The id of each token."""
        return self.tokenizer.get_vocab()

    def __call__(self, texts: Sequence[str], **_: object) -> Mapping[str, list[list[int]]]:
        """The ids of each text: nothing is padded or cut, and a special token that a text spells is text."""
        return {"input_ids": [one.ids for one in self.tokenizer.encode_batch_fast(list(texts))]}


def _is_usual(said: Mapping[str, Any]) -> bool:
    known = said.keys() <= _USUAL.keys() | _IDLE and said.get("tokenizer_class") in _CLASSES
    return known and all(said.get(name, usual) == usual for name, usual in _USUAL.items())


def _built(vocab: dict[str, int]) -> Tokenizer:
    """As transformers builds it of a vocabulary."""
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))  # noqa: S106  a token of another kind
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(one, vocab[one]) for one in ("[CLS]", "[SEP]")],
    )
    made.add_special_tokens(sorted(_SPECIAL.values(), key=vocab.__getitem__))
    return made
