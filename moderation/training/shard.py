"""A webdataset-style tar shard as pairs: indexed once, then read at offsets, in any order and from any thread."""

from __future__ import annotations

import os

from moderation.errors import ItemError
from moderation.settings import ImageLimits
from moderation.training.broken import Broken
from moderation.training.pairs import LONGEST_CAPTION, Pair, captions_of, parse_json, usable_captions
from moderation.training.shard_index import JSON, ShardIndex

_LARGEST_JSON = 1 << 20  # bytes of one record's JSON: dataset builders put much beside the caption


class Shard:
    """The pairs of an indexed shard; pictures beyond `limits` in bytes are not read."""

    def __init__(self, index: ShardIndex, *, limits: ImageLimits) -> None:
        self._index, self._limits = index, limits

    @property
    def broken(self) -> Broken:
        """What the index left out."""
        return self._index.broken

    def __len__(self) -> int:
        return len(self._index)

    def key(self, row: int) -> str:
        """The shard's name and the record's key in it."""
        return self._index.key(row)

    def read(self, row: int) -> Pair:
        """The pair at `row`; raises ItemError where its bytes cannot be read or it has no usable caption."""
        index = self._index
        if not 0 <= row < len(index):
            raise IndexError(f"row {row}; expected 0 to {len(index) - 1}")
        first, end = index.first_captions[row : row + 2]
        try:
            file = os.open(index.path, os.O_RDONLY)  # each time: thousands of shards are more than may stay open
            try:
                captions = [text for at in index.captions[first:end] for text in _captions(file, *map(int, at))]
                image = _read(file, *map(int, index.pictures[row]), most=self._limits.max_bytes)
            finally:
                os.close(file)
        except OSError as error:
            raise ItemError("unreadable", f"{index.path}: {error.strerror}") from None
        return Pair(index.key(row), image, usable_captions(captions))


def _captions(file: int, offset: int, size: int, kind: int) -> list[object]:
    """One member's captions; what is damaged or too long is left to `usable_captions` to name, for others may be whole."""
    if kind == JSON:
        try:
            return captions_of(parse_json(_read(file, offset, size, most=_LARGEST_JSON)))
        except ItemError:
            return [None]
    longest = 4 * LONGEST_CAPTION + 4  # UTF-8 takes at most four bytes a character
    return [os.pread(file, min(size, longest), offset).decode("utf-8", "surrogateescape")]


def _read(file: int, offset: int, size: int, *, most: int) -> bytes:
    if size > most:
        raise ItemError("too_large", f"{size} bytes; expected at most {most}")
    content = os.pread(file, size, offset)
    if len(content) < size:
        raise ItemError(
            "cut_off", f"{len(content)} bytes at {offset}; expected {size}: the shard was cut after indexing"
        )
    return content
