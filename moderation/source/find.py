"""What `moderation scan` reads: files, folders, JSON lines and Parquet, found first and read one batch at a time."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from moderation.errors import DataError, ItemError, Problem
from moderation.extras import need
from moderation.item import VIDEOS
from moderation.meant import neighbour
from moderation.source import tables
from moderation.source.entry import Entry, Most, failing, file_entry, printable
from moderation.source.lines import file_line_entries, line_entries, line_places

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
TEXTS = frozenset({".txt"})
LINES = frozenset({".jsonl"})
TABLES = frozenset({".parquet"})
STDIN = Path("-")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Found:
    """Everything the arguments name: `entries` in order, their number where it is known, and the files left alone.

    `files` are those that the entries stand in, in order; a file over its bound of `most` is never read.
    """

    entries: Iterable[Entry]
    total: int | None
    left_alone: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()
    most: Most = field(default_factory=dict)

    @property
    def kinds(self) -> list[str]:
        """What the names of files end in that are read wherever they lie."""
        return sorted(self.most.keys() | LINES | TABLES)


@dataclass(slots=True)
class _Search:
    most: Most
    files: list[Path] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)


def find(paths: Iterable[Path], *, max_bytes: int, video_bytes: int = 0) -> Found:
    """What the arguments name, folders searched through and sorted; a file over `max_bytes`, or a video over `video_bytes`, is never read.

    Without `video_bytes` there is no reader for videos: they are files of the wrong kind.

    Raises DataError for an argument that is not there, and when not one item is found (of a pipe or stdin, once it has ended); SettingsError where
    a table is named that nothing installed could read.
    """
    paths = list(paths)
    missing = [path for path in paths if path != STDIN and not os.path.lexists(path)]
    if missing:
        raise DataError(Problem(path, 0, 0, "D000", f"no such file or folder{neighbour(path)}") for path in missing)
    most = dict.fromkeys(PICTURES | TEXTS, max_bytes) | (dict.fromkeys(VIDEOS, video_bytes) if video_bytes else {})
    search = _Search(most)
    for path in paths:
        _search(path, search)
    if not search.files:
        where = paths[0] if paths else Path()
        message = f"nothing to judge here; expected {', '.join(Found((), 0, most=most).kinds)}"
        raise DataError([Problem(where, 0, 0, "D000", message)])
    if any(path.suffix.lower() in TABLES for path in search.files):
        need("pyarrow", extra="history")
    files = tuple(search.files)
    total = _total(files)
    if total == 0:
        raise _no_item(files)
    entries = itertools.chain.from_iterable(entries_of(path, most) for path in files)
    return Found(_at_least_one(entries, files) if total is None else entries, total, search.left_alone, files, most)


def _at_least_one(entries: Iterator[Entry], files: Iterable[Path]) -> Iterator[Entry]:
    """What comes, however much it is. Raises DataError where nothing did."""
    first = next(entries, None)
    if first is None:
        raise _no_item(files)
    yield first
    del first  # a row of a table holds its content
    yield from entries


def _no_item(files: Iterable[Path]) -> DataError:
    """All of them were empty: a job that broke before this one must not end as if all was well."""
    named = [Path("stdin") if path == STDIN else path for path in files]
    return DataError(Problem(path, 0, 0, "D000", f"no item in it; expected {_expected(path)}") for path in named)


def _expected(path: Path) -> str:
    return "rows" if path.suffix.lower() in TABLES else "one JSON object a line"


def batches(walk: Iterable[T], size: int) -> Iterator[list[T]]:
    """What comes, so many at a time."""
    found = iter(walk)
    while batch := list(itertools.islice(found, size)):
        yield batch


def entries_of(path: Path, most: Most, *, first: int = 1, at: int = 0, count: int | None = None) -> Iterator[Entry]:
    """The entries that stand in a file; or `count` of them, from line or row `first` on, a line that begins at byte `at`."""
    if path == STDIN:
        yield from line_entries(sys.stdin.buffer, "stdin", Path(), most)
    elif path.is_dir():
        yield failing(path.as_posix(), ItemError("unreadable", "the folder cannot be read", cause="folder"))
    elif path.suffix.lower() in LINES:
        yield from file_line_entries(path, most, first=first, at=at, count=count)
    elif path.suffix.lower() in TABLES:
        yield from tables.table_entries(path, most, first=first, count=count)
    else:
        yield file_entry(path, most)


def places(path: Path) -> Iterator[tuple[int, int]]:
    """Where each entry of a file that has an end stands: its line or row, from 1, and the byte where that line begins."""
    if path.suffix.lower() in LINES and not path.is_dir():
        yield from line_places(path)
    elif path.suffix.lower() in TABLES and not path.is_dir():
        yield from ((row, 0) for row in range(1, tables.count_rows(path) + 1))
    else:
        yield 1, 0


def is_endless(path: Path) -> bool:
    """Whether nobody knows how much comes, and it comes once: stdin, a pipe, a device."""
    return path == STDIN or _is_no_file(path)


def _is_no_file(path: Path) -> bool:
    """Whether something else than a file or a folder stands there."""
    return path.exists() and not (path.is_file() or path.is_dir())


def _search(path: Path, search: _Search) -> None:
    if path == STDIN or not path.is_dir():
        search.files.append(path)
        return
    for folder, folders, names in os.walk(path, onerror=lambda error: search.files.append(Path(error.filename))):
        folders.sort()
        search.left_alone += [printable(Path(folder, name)) for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(names):
            file = Path(folder, name)
            if _is_ours(file, search.most):
                search.files.append(file)
            else:
                search.left_alone.append(printable(file))


def _is_ours(file: Path, most: Most) -> bool:
    """Whether a file of a folder is judged: its kind is, and it is a table of items if it is one."""
    suffix = file.suffix.lower()
    # A pipe or a device would be waited on for ever; one that is named on the command line is meant.
    if suffix in LINES | TABLES and _is_no_file(file):
        return False
    return tables.may_hold_items(file) if suffix in TABLES else suffix in most or suffix in LINES


def _total(files: Iterable[Path]) -> int | None:
    total = 0
    for path in files:
        if is_endless(path):
            return None
        total += sum(1 for _ in places(path))
    return total
