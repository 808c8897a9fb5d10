"""Pictures with captions as a numbered list that can be read at any row: what every kind of source gives."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from moderation.errors import ItemError
from moderation.training.broken import Broken

LONGEST_CAPTION = (
    10_000  # characters, about 2,500 words: beyond it stands a page, and the tokenizer's time, not a caption
)
CAPTION_FIELDS = ("captions", "caption", "text")


@dataclass(frozen=True, slots=True)
class Pair:
    """One picture file's bytes with one or more captions; `key` as in `Pairs.key`."""

    key: str
    image: bytes
    captions: tuple[str, ...]


class Pairs(Protocol):
    """A source of pairs. `broken` counts the records that were left out when it was opened."""

    @property
    def broken(self) -> Broken:
        """Records that are not among the rows, by reason."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def key(self, row: int) -> str:
        """Where the record at `row` is, for people; known without reading it."""
        ...

    def read(self, row: int) -> Pair:
        """The pair at `row`; safe from several threads. Raises ItemError where the record is broken."""
        ...


class Joined:
    """Several sources as one, their rows in the order given."""

    def __init__(self, sources: Sequence[Pairs]) -> None:
        self._sources = tuple(sources)
        self._ends = tuple(accumulate(map(len, self._sources)))
        self.broken = Broken()
        for source in self._sources:
            self.broken.update(source.broken)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def key(self, row: int) -> str:
        """Where the record at `row`, counted over all sources, is."""
        source, inside = self._locate(row)
        return source.key(inside)

    def read(self, row: int) -> Pair:
        """The pair at `row`, counted over all sources; raises ItemError where the record is broken."""
        source, inside = self._locate(row)
        return source.read(inside)

    def _locate(self, row: int) -> tuple[Pairs, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row}; expected 0 to {len(self) - 1}")
        source = bisect_right(self._ends, row)
        return self._sources[source], row - (self._ends[source - 1] if source else 0)


def usable_captions(captions: Iterable[object]) -> tuple[str, ...]:
    """The captions that can be trained on, stripped, each once.

    Raises ItemError where none is left: `no_caption` (there was none), `empty_caption`, `long_caption` (over
    LONGEST_CAPTION characters), or `damaged_caption` (not text, or not UTF-8).
    """
    kept: dict[str, None] = {}
    reason = "no_caption"
    for caption in captions:
        fault = _fault(caption)
        if fault is None:
            kept[str(caption).strip()] = None
        else:
            reason = fault
    if not kept:
        raise ItemError(reason, f"no usable caption; expected text of 1 to {LONGEST_CAPTION} characters")
    return tuple(kept)


def captions_of(value: object) -> list[object]:
    """The captions in a JSON value: a string, a list of them, or an object with one of CAPTION_FIELDS."""
    if isinstance(value, Mapping):
        value = next((value[name] for name in CAPTION_FIELDS if value.get(name) is not None), None)
    return value if isinstance(value, list) else [] if value is None else [value]


def parse_json(content: bytes | str) -> Any:
    """The JSON value in `content`; raises ItemError(`damaged_json`), also where it nests too deep to be read."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ItemError("damaged_json", f"not JSON: {error}") from None


def _fault(caption: object) -> str | None:
    if not isinstance(caption, str):
        return "damaged_caption"
    if len(caption) > LONGEST_CAPTION:
        return "long_caption"
    try:
        caption.encode()  # a lone surrogate is what bytes that were not UTF-8 become
    except UnicodeEncodeError:
        return "damaged_caption"
    return None if caption.strip() else "empty_caption"
