"""Items as lines of JSON: every line that says anything is an entry, however wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from moderation.errors import ItemError
from moderation.item import is_utf8
from moderation.policy.json_source import read_json
from moderation.policy.manifest import MAX_LINE_BYTES, bounded_lines
from moderation.source.entry import MANIFEST_KEYS, Entry, Most, expect, failing, item_of, unreadable

_ITEM_KEYS = frozenset({"id", "path", "text", "parts", "attributes"})
_PART_KEYS = frozenset({"path", "text", "name", "sha256"})


def line_entries(stream: BinaryIO, name: str, folder: Path, most: Most, *, first: int = 1) -> Iterator[Entry]:
    """An entry for every line that is not blank; the next line of the stream is number `first`, and paths are from `folder` on."""
    for number, line in enumerate(bounded_lines(stream), start=first):
        where = f"{name}:{number}"
        if line is None:
            message = f"a line of over {MAX_LINE_BYTES:,} bytes"
            error = ItemError("unsupported_input", message, cause="line_too_long")
            yield failing(where, error, file=Path(name), line=number)
        elif line.strip():
            yield replace(_line(line, where, folder, most), file=Path(name), line=number)


def file_line_entries(
    path: Path, most: Most, *, first: int = 1, at: int = 0, count: int | None = None
) -> Iterator[Entry]:
    """The entries of a file of lines; or `count` of them, from line `first` on, which begins at byte `at`."""
    try:
        with path.open("rb") as stream:
            stream.seek(at)
            yield from islice(line_entries(stream, path.as_posix(), path.parent, most, first=first), count)
    except OSError as error:
        yield failing(path.as_posix(), unreadable(error))


def line_places(path: Path) -> Iterator[tuple[int, int]]:
    """Of each entry of a file of lines its line, from 1, and the byte where that begins; of a file that cannot be read, of the one entry that says so."""
    try:
        with path.open("rb") as stream:
            at = 0
            for number, line in enumerate(bounded_lines(stream), start=1):
                if line is None or line.strip():
                    yield number, at
                at = stream.tell()
    except OSError:
        yield 1, 0


def _line(line: bytes, where: str, folder: Path, most: Most) -> Entry:
    try:
        row = _row(line)
        one = row.get("id", row.get("path", where))
        expect(isinstance(one, str) and one != "", f"'id' is {one!r}; expected a non-empty string")
    except ItemError as error:
        return failing(where, error)
    return Entry(one, lambda: item_of(one, _parts(row), row.get("attributes", {}), folder, most), row)


def _row(line: bytes) -> Mapping[str, Any]:
    try:
        row = read_json(line)
    except ValueError as error:
        raise ItemError("unsupported_input", f"not a line of JSON: {error}", cause="not_json") from None
    expect(isinstance(row, dict), f"found {type(row).__name__}; expected a JSON object")
    # What JSON can write and UTF-8 cannot would break the very line that tells the decision.
    expect(b"\\u" not in line or is_utf8(row), "a string holds half a surrogate pair", cause="not_utf8")
    unknown = sorted(row.keys() - _ITEM_KEYS - MANIFEST_KEYS)
    expect(not unknown, f"unknown key {', '.join(map(repr, unknown))}; expected {', '.join(sorted(_ITEM_KEYS))}")
    kinds = [key for key in ("path", "text", "parts") if key in row]
    expect(len(kinds) == 1, f"found {' and '.join(kinds) or 'no content'}; expected one of 'path', 'text', 'parts'")
    return dict(row)


def _parts(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = row.get("parts", [{key: row[key] for key in ("path", "text") if key in row}])
    expect(isinstance(rows, list) and rows != [], "'parts' is not a list of at least one part")
    for part in rows:
        known = isinstance(part, dict) and part.keys() <= _PART_KEYS
        expect(known, f"part {part!r}: expected 'path' or 'text', and 'name'")
        expect(("path" in part) != ("text" in part), f"part {part!r}: expected one of 'path' and 'text'")
        expect(all(isinstance(value, str) for value in part.values()), f"part {part!r}: expected strings")
    return list(rows)
