"""Texts into token ids, and batches of them into few shapes.

A text too long for the encoder is an error of its row: nothing is cut silently. Words that look like a tokenizer's
special tokens are read as plain text, so that no text can end itself early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moderation.encoder.card import TextCard
from moderation.errors import ItemError

TOKENS_VERSION = "tokens/1"
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)

# No tokenizer here makes fewer tokens than this from ordinary text; beyond it, tokenizing would only burn time.
_MAX_CHARACTERS_PER_TOKEN = 256

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """A Hugging Face tokenizer with the rules of a card."""

    backend: Any
    card: TextCard

    @property
    def padding_id(self) -> int:
        """The id that fills a short row; a tokenizer without one pads with 0."""
        return int(self.backend.pad_token_id or 0)

    @property
    def vocabulary(self) -> int:
        """How many ids a text tower must know: one more than the largest."""
        return int(max(self.backend.get_vocab().values())) + 1

    def tokens(self, text: str) -> Ids:
        """The ids of one text, special tokens included, however many they are."""
        return self._tokens([text])[0]

    def batch(self, texts: Sequence[str]) -> list[Ids | ItemError]:
        """For each text its ids, or why it cannot be encoded."""
        context = self.card.context_length
        refused = [self._refusal(text) for text in texts]
        tokens = iter(self._tokens([text for text, error in zip(texts, refused, strict=True) if error is None]))
        rows = [next(tokens) if error is None else error for error in refused]
        return [
            _too_long(f"{len(row)} tokens", context) if isinstance(row, tuple) and len(row) > context else row
            for row in rows
        ]

    def _refusal(self, text: str) -> ItemError | None:
        if len(text) > self.card.context_length * _MAX_CHARACTERS_PER_TOKEN:
            return _too_long(f"{len(text)} characters", self.card.context_length)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            return ItemError("unsupported_input", f"the text is not valid Unicode: {error.reason}", cause="not_utf8")
        return None

    def _tokens(self, texts: list[str]) -> list[Ids]:
        if not texts:
            return []
        texts = [text.lower() for text in texts] if self.card.lowercase else texts
        # split_special_tokens: "[SEP]" or "<|endoftext|>" in a text is text.
        rows = self.backend(texts, padding=False, truncation=False, split_special_tokens=True, verbose=False)
        return [tuple(row) for row in rows["input_ids"]]


def _too_long(found: str, context: int) -> ItemError:
    return ItemError("text_too_long", f"the text has {found}; the encoder reads at most {context} tokens")


def buckets_of(encoder: object) -> Sequence[int]:
    """The batch sizes that an encoder's towers run, ascending; the usual ones where it does not say."""
    return getattr(encoder, "buckets", BATCH_BUCKETS)


def length_bucket(length: int, card: TextCard) -> int:
    """How many tokens a text of this length is padded to: 8, 16, 32 … context where trimming is exact, else context."""
    if card.padding == "max_length" or not card.trim_exact:
        return card.context_length
    bucket = 8
    while bucket < length:
        bucket *= 2
    return min(bucket, card.context_length)


def batch_sizes(count: int, buckets: Sequence[int] = BATCH_BUCKETS) -> list[tuple[int, int]]:
    """How to run `count` rows in bucket sizes (ascending): pairs of rows taken and rows run, the difference being padding.

    At most a quarter of a batch is padding, so that 17 rows run as 16 and 1, and 31 as 32.
    """
    sizes: list[tuple[int, int]] = []
    while count:
        fitting = min((size for size in buckets if size >= count), default=buckets[-1])
        run = fitting if 4 * count >= 3 * fitting else max(size for size in buckets if size <= count)
        sizes.append((min(run, count), run))
        count -= sizes[-1][0]
    return sizes
