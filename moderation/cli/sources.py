"""What `moderation scan` reads: files, folders and JSON lines, found first and read one batch at a time."""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from moderation.errors import DataError, ItemError, Problem
from moderation.item import VIDEOS, ContentItem, Modality, Part, is_utf8
from moderation.policy.json_source import read_json
from moderation.policy.manifest import MAX_LINE_BYTES, bounded_lines

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
TEXTS = frozenset({".txt"})
LINES = frozenset({".jsonl"})
STDIN = Path("-")

T = TypeVar("T")
Most = Mapping[str, int]  # by suffix of what is judged, the most bytes that a file may have

_ITEM_KEYS = frozenset({"id", "path", "text", "parts", "attributes"})
_PART_KEYS = frozenset({"path", "text", "name", "sha256"})
# A data manifest may be scanned as it is: what it knows about a row is evidence, not content.
_MANIFEST_KEYS = frozenset({"sha256", "target", "cluster", "weight", "time", "source", "licence"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to judge, not read yet. `read` raises ItemError when there is nothing that could be judged.

    `row` is the line of JSON that names it and `line` its number, from 1, in `file`; 0 for what is a file itself.
    """

    id: str
    read: Callable[[], ContentItem]
    row: Mapping[str, Any] = field(default_factory=dict)
    file: Path = Path()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """Everything the arguments name: `entries` in order, their number where it is known, and the files left alone."""

    entries: Iterable[Entry]
    total: int | None
    left_alone: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Search:
    most: Most
    files: list[Path] = field(default_factory=list)
    left_alone: list[str] = field(default_factory=list)


def find(paths: Iterable[Path], *, max_bytes: int, video_bytes: int = 0) -> Found:
    """What the arguments name, folders searched through and sorted; a file over `max_bytes`, or a video over `video_bytes`, is never read.

    Without `video_bytes` there is no reader for videos: they are files of the wrong kind.

    Raises DataError for an argument that is not there, and when nothing at all is found.
    """
    paths = list(paths)
    missing = [path for path in paths if path != STDIN and not os.path.lexists(path)]
    if missing:
        raise DataError(Problem(path, 0, 0, "D000", "no such file or folder") for path in missing)
    most = dict.fromkeys(PICTURES | TEXTS, max_bytes) | (dict.fromkeys(VIDEOS, video_bytes) if video_bytes else {})
    search = _Search(most)
    for path in paths:
        _search(path, search)
    if not search.files:
        where = paths[0] if paths else Path()
        message = f"nothing to judge here; expected {', '.join(sorted(most.keys() | LINES))}"
        raise DataError([Problem(where, 0, 0, "D000", message)])
    return Found(_entries(search), _total(search.files), search.left_alone)


def batches(walk: Iterable[T], size: int) -> Iterator[list[T]]:
    """What comes, so many at a time."""
    found = iter(walk)
    while batch := list(itertools.islice(found, size)):
        yield batch


def _search(path: Path, search: _Search) -> None:
    if path == STDIN or not path.is_dir():
        search.files.append(path)
        return
    for folder, folders, names in os.walk(path, onerror=lambda error: search.files.append(Path(error.filename))):
        folders.sort()
        search.left_alone += [_printable(Path(folder, name)) for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(names):
            suffix = Path(name).suffix.lower()
            # A pipe of lines would be waited on for ever; one that is named on the command line is meant.
            if suffix in search.most or (suffix in LINES and not Path(folder, name).is_fifo()):
                search.files.append(Path(folder, name))
            else:
                search.left_alone.append(_printable(Path(folder, name)))


def _total(files: Iterable[Path]) -> int | None:
    total = 0
    for path in files:
        if path == STDIN or path.is_fifo():
            return None
        total += _count_lines(path) if path.suffix.lower() in LINES else 1
    return total


def _count_lines(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(1 for line in bounded_lines(stream) if line is None or line.strip())
    except OSError:
        return 1  # the one entry that says so


def _entries(search: _Search) -> Iterator[Entry]:
    for path in search.files:
        if path == STDIN:
            yield from _lines(sys.stdin.buffer, "stdin", Path(), search.most)
        elif path.is_dir():
            yield Entry(
                path.as_posix(), _failing(ItemError("unreadable", f"{path}: the folder cannot be read", cause="folder"))
            )
        elif path.suffix.lower() in LINES:
            yield from _manifest(path, search.most)
        else:
            yield _file(path, search.most)


def _file(path: Path, most: Most) -> Entry:
    one = _printable(path)
    return Entry(one, lambda: ContentItem(one, (_part(path, most=most),)))


def _printable(path: Path) -> str:
    """A name that is not UTF-8 must still be printable."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _manifest(path: Path, most: Most) -> Iterator[Entry]:
    try:
        with path.open("rb") as stream:
            yield from _lines(stream, path.as_posix(), path.parent, most)
    except OSError as error:
        yield Entry(path.as_posix(), _failing(_unreadable(path, error)))


def _lines(stream: BinaryIO, name: str, folder: Path, most: Most) -> Iterator[Entry]:
    for number, line in enumerate(bounded_lines(stream), start=1):
        where = f"{name}:{number}"
        if line is None:
            message = f"a line of over {MAX_LINE_BYTES:,} bytes"
            entry = Entry(where, _failing(ItemError("unsupported_input", message, cause="line_too_long")))
            yield replace(entry, file=Path(name), line=number)
        elif line.strip():
            yield replace(_line(line, where, folder, most), file=Path(name), line=number)


def _line(line: bytes, where: str, folder: Path, most: Most) -> Entry:
    try:
        row = _row(line)
        one = row.get("id", row.get("path", where))
        _expect(isinstance(one, str) and one != "", f"'id' is {one!r}; expected a non-empty string")
    except ItemError as error:
        return Entry(where, _failing(error))
    return Entry(one, lambda: _item(one, row, folder, most), row)


def _row(line: bytes) -> Mapping[str, Any]:
    try:
        row = read_json(line)
    except ValueError as error:
        raise ItemError("unsupported_input", f"not a line of JSON: {error}", cause="not_json") from None
    _expect(isinstance(row, dict), f"found {type(row).__name__}; expected a JSON object")
    # What JSON can write and UTF-8 cannot would break the very line that tells the decision.
    _expect(b"\\u" not in line or is_utf8(row), "a string holds half a surrogate pair", cause="not_utf8")
    unknown = sorted(row.keys() - _ITEM_KEYS - _MANIFEST_KEYS)
    _expect(not unknown, f"unknown key {', '.join(map(repr, unknown))}; expected {', '.join(sorted(_ITEM_KEYS))}")
    kinds = [key for key in ("path", "text", "parts") if key in row]
    _expect(len(kinds) == 1, f"found {' and '.join(kinds) or 'no content'}; expected one of 'path', 'text', 'parts'")
    return dict(row)


def _item(one: str, row: Mapping[str, Any], folder: Path, most: Most) -> ContentItem:
    rows = row.get("parts", [{key: row[key] for key in ("path", "text") if key in row}])
    _expect(isinstance(rows, list) and rows != [], "'parts' is not a list of at least one part")
    attributes = row.get("attributes", {})
    named = isinstance(attributes, dict) and all(isinstance(value, str) for value in attributes.values())
    _expect(named, "'attributes' is not an object of strings")
    return ContentItem(one, tuple(_row_part(part, folder, most) for part in rows), dict(attributes))


def _row_part(row: Any, folder: Path, most: Most) -> Part:
    _expect(isinstance(row, dict) and row.keys() <= _PART_KEYS, f"part {row!r}: expected 'path' or 'text', and 'name'")
    _expect(("path" in row) != ("text" in row), f"part {row!r}: expected one of 'path' and 'text'")
    _expect(all(isinstance(value, str) for value in row.values()), f"part {row!r}: expected strings")
    name = row.get("name", "")
    if "text" in row:
        return _text(row["text"], name)
    return _part(folder / row["path"], name=name, most=most)


def _text(text: str, name: str) -> Part:
    try:
        return Part.text(text, name=name)
    except UnicodeEncodeError:
        raise ItemError("unsupported_input", "the text holds half a surrogate pair", cause="not_utf8") from None


def _part(path: Path, *, most: Most, name: str = "") -> Part:
    suffix = path.suffix.lower()
    what = f"{path}: a file of kind {suffix or 'unknown'!r} is neither picture nor text"
    if suffix in VIDEOS:
        what = f'{path}: no reader in force reads videos; name one that does, such as readers.use = ["video"], in the settings (plugin moderation-video)'
    _expect(suffix in most, what, cause="wrong_kind")
    max_bytes = most[suffix]
    try:
        # A pipe or a device would be read for ever.
        _expect(stat.S_ISREG(path.stat().st_mode), f"{path}: not a regular file", cause="not_a_file")
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise _unreadable(path, error) from None
    except ValueError as error:
        raise ItemError("unreadable", f"{path!r}: {error}", cause="wrong_path") from None
    _expect(len(content) <= max_bytes, f"{path}: larger than {max_bytes} bytes", cause="too_many_bytes")
    part = Part.from_file(path, content, name=name)
    _expect(part.modality is Modality.VIDEO or part.fault is None, f"{path}: not UTF-8", cause="not_utf8")
    return part


def _unreadable(path: Path, error: OSError) -> ItemError:
    causes = {FileNotFoundError: "no_such_file", PermissionError: "no_permission"}
    cause = causes.get(type(error), "read_failed")
    return ItemError("unreadable", f"{path}: {error.strerror}", cause=cause)


def _failing(error: ItemError) -> Callable[[], ContentItem]:
    def read() -> ContentItem:
        raise error

    return read


def _expect(holds: bool, message: str, *, cause: str = "wrong_item") -> None:
    if not holds:
        raise ItemError("unsupported_input", message, cause=cause)
