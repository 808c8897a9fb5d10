"""What is to be judged, divided among many hands: always in the same portions, each of which can be decided by itself and again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from moderation.source.entry import Entry, Most
from moderation.source.find import LINES, TABLES, entries_of, places


@dataclass(frozen=True, slots=True)
class Span:
    """`count` entries that stand together in a file, from line or row `first` on; a line begins at byte `at`."""

    file: Path
    first: int
    count: int
    at: int = 0


@dataclass(frozen=True, slots=True)
class Portion:
    """Neighbouring entries, of one or more files; `number` counts portions from 0."""

    number: int
    spans: tuple[Span, ...]

    @property
    def count(self) -> int:
        """How many entries there are."""
        return sum(span.count for span in self.spans)

    def entries(self, most: Most) -> Iterator[Entry]:
        """The entries, in order; fewer where a file has become shorter."""
        for span in self.spans:
            yield from entries_of(span.file, most, first=span.first, at=span.at, count=span.count)


def portions(files: Iterable[Path], size: int) -> Iterator[Portion]:
    """All entries of these files in order, so many in each portion; the last one has what is left."""
    number, spans, room = 0, list[Span](), size
    for file in files:
        walk = iter(places(file))
        while taken := list(islice(walk, room)):
            first, at = taken[0]
            spans.append(Span(file, first, len(taken), at))
            room -= len(taken)
            if not room:
                yield Portion(number, tuple(spans))
                number, spans, room = number + 1, [], size
    if spans:
        yield Portion(number, tuple(spans))


def digest_of(cut: Sequence[Portion]) -> str:
    """SHA-256 of what was found and how it was divided: names and places, of files of lines and tables their sizes too. Content is not read."""
    digest = hashlib.sha256()
    for portion in cut:
        for span in portion.spans:
            told = (portion.number, str(span.file), span.first, span.count, span.at, _size(span.file))
            digest.update(repr(told).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _size(file: Path) -> int:
    held = file.suffix.lower() in LINES | TABLES and file.is_file()
    return file.stat().st_size if held else 0
