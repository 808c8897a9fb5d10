"""Items as rows of Parquet: every row is an entry, however wrong, and columns that are no part of an item are not read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderation.errors import ItemError
from moderation.extras import installed
from moderation.source.entry import MANIFEST_KEYS, Entry, Most, expect, failing, item_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CONTENT = ("path", "text", "image", "parts")
_KINDS = ("path", "text", "image")
_COLUMNS = ("id", *CONTENT, "attributes", *sorted(MANIFEST_KEYS))
_BATCH = 32  # rows that are read at once, fewer where they are large
_LARGE = 8_000_000  # bytes that they have together
_BUFFER = 1 << 20  # bytes of a column that are read at once


def may_hold_items(path: Path) -> bool:
    """Whether a table has a column of content; one that cannot be read, or names none of its columns, may."""
    if not installed("pyarrow"):
        return False
    file = _opened(path)
    return isinstance(file, ItemError) or not set(CONTENT).isdisjoint(file.schema_arrow.names)


def count_rows(path: Path) -> int:
    """How many entries a table gives: of one that cannot be read, the one that says so."""
    file = _opened(path)
    return 1 if isinstance(file, ItemError) else int(file.metadata.num_rows)


def table_entries(path: Path, most: Most, *, first: int = 1, count: int | None = None) -> Iterator[Entry]:
    """An entry for each row of a file; or for `count` of them, from row `first` on, from 1.

    A row has an `id` or is named by its place, and one of the columns of CONTENT: a `path` from the file's folder on, a `text`, an `image` (the
    bytes of its file, or a struct with them in `bytes`), or `parts`, a list of structs of these and `name`; `attributes` is a map or a struct of texts.
    """
    file = _opened(path)
    if isinstance(file, ItemError):
        yield failing(path.as_posix(), file)
        return
    for number, row in enumerate(islice(_rows(file, first), count), start=first):
        where = f"{path.as_posix()}:{number}"
        made = failing(where, row) if isinstance(row, ItemError) else _entry(row, where, path.parent, most)
        yield replace(made, file=path, line=number)


def _opened(path: Path) -> pq.ParquetFile | ItemError:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists() and not path.is_file():  # a pipe would be waited on for ever
        return ItemError("unsupported_input", "not a regular file", cause="not_a_file")
    try:
        return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)  # else whole columns of a group are held
    except (OSError, pa.ArrowException):
        return ItemError("unreadable", "cannot be read as Parquet", cause="not_parquet")


def _rows(file: pq.ParquetFile, first: int) -> Iterator[Mapping[str, Any] | ItemError]:
    """The rows from one on, each or why it cannot be read; groups of rows before it are not read."""
    before = first - 1
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if before < rows:
            yield from islice(_group(file, group), before, None)
        before = max(0, before - rows)


def _group(file: pq.ParquetFile, group: int) -> Iterator[Mapping[str, Any] | ItemError]:
    """All rows of a group; where it is damaged, the rest of them are errors."""
    import pyarrow as pa

    known = [name for name in _COLUMNS if name in file.schema_arrow.names]
    told = file.metadata.row_group(group)
    left = told.num_rows
    size = max(1, min(_BATCH, _LARGE * left // max(1, told.total_byte_size)))
    try:
        for batch in file.iter_batches(batch_size=size, columns=known, row_groups=[group]):
            for row in _plain(batch):
                left -= 1
                yield row
    except (OSError, pa.ArrowException):
        yield from repeat(ItemError("unreadable", "its part of the table is damaged", cause="damaged"), left)


def _plain(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any] | ItemError]:
    """Rows as what they say; a batch without columns has rows too. Where some are larger than most, each is made when it is asked for."""
    if len(batch) > 1 and batch.nbytes > _LARGE:
        yield from _one_by_one(batch)
        return
    try:
        rows = batch.to_pylist() or [{}] * len(batch)
    except (
        ArithmeticError,
        LookupError,
        ValueError,
    ) as error:  # no UTF-8, a date beyond all calendars, an unknown time zone
        yield from [_unplain(error)] if len(batch) == 1 else _one_by_one(batch)
        return
    yield from ({name: value for name, value in row.items() if value is not None} for row in rows)


def _one_by_one(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any] | ItemError]:
    """The rows of a batch that is large, or of which one at least holds what cannot be told."""
    for place in range(len(batch)):
        yield from _plain(batch.slice(place, 1))


def _unplain(error: Exception) -> ItemError:
    if isinstance(error, UnicodeDecodeError):
        return ItemError("unsupported_input", "the row holds a text that is not UTF-8", cause="not_utf8")
    return ItemError("unsupported_input", "the row holds a date or time that cannot be told", cause="wrong_item")


def _entry(row: Mapping[str, Any], where: str, folder: Path, most: Most) -> Entry:
    one = row.get("id", row.get("path", where))
    one = str(one) if isinstance(one, int) else one
    facts = {key: _plainly(row[key]) for key in MANIFEST_KEYS & row.keys()}
    facts |= {"attributes": _texts(row["attributes"])} if "attributes" in row else {}
    try:
        expect(isinstance(one, str) and one != "", "'id' is neither a text nor a number")
        kinds = [key for key in CONTENT if key in row]
        expect(len(kinds) == 1, f"found {' and '.join(kinds) or 'no content'}; expected one of {', '.join(CONTENT)}")
    except ItemError as error:
        return failing(where, error)
    return Entry(one, lambda: item_of(one, _parts(row), _texts(row.get("attributes", {})), folder, most), facts)


def _parts(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = row.get("parts", [{key: row[key] for key in _KINDS if key in row}])
    expect(isinstance(given, list) and given != [], "'parts' is not a list of at least one part")
    return [_part(part) for part in given]


def _part(part: Any) -> Mapping[str, Any]:
    expect(isinstance(part, dict), "a part is no struct")
    image = part.get("image")
    part = {**part, "image": image.get("bytes")} if isinstance(image, dict) else part
    kinds = {key: part[key] for key in _KINDS if part.get(key) is not None}
    expect(len(kinds) == 1, f"a part has {' and '.join(kinds) or 'no content'}; expected one of {', '.join(_KINDS)}")
    for key, value in kinds.items():
        expect(isinstance(value, bytes if key == "image" else str), f"{key}: found {type(value).__name__}")
    name = part.get("name") or ""
    expect(isinstance(name, str), "the name of a part is no text")
    return {**kinds, "name": name}


def _plainly(value: Any) -> Any:
    """A value as a line of JSON would have it."""
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _texts(given: Any) -> Any:
    """Attributes as an object, of a map or a struct."""
    pairs = given.items() if isinstance(given, dict) else given
    return {name: value for name, value in pairs if value is not None} if isinstance(given, dict | list) else given
