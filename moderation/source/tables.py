"""Items as rows of Parquet: every row is an entry, however wrong, and columns that are no part of an item are not read."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moderation.errors import ItemError, SettingsError
from moderation.source.entry import MANIFEST_KEYS, Entry, Most, expect, failing, item_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CONTENT = ("path", "text", "image", "parts")
_KINDS = ("path", "text", "image")
_BATCH = 32  # rows in memory at once


def need() -> None:
    """Raises SettingsError where what reads tables is not installed."""
    if not _readable():
        raise SettingsError('this needs pyarrow, which is not installed; try: pip install "moderation[history]"')


def may_hold_items(path: Path) -> bool:
    """Whether a table has a column of content; one that cannot be read, or names none of its columns, may."""
    if not _readable():
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
    last = file.metadata.num_rows if count is None else first + count - 1
    number = first
    try:
        for row in islice(_rows(file, first), last - first + 1):
            where = f"{path.as_posix()}:{number}"
            yield replace(_entry(row, where, path.parent, most), file=path, line=number)
            number += 1
    except Exception as error:  # noqa: BLE001 - of a damaged file pyarrow raises many things; what comes from the caller is none of them
        damaged = ItemError("unreadable", f"{path}: damaged from about row {number} on", cause=type(error).__name__)
        yield from (
            failing(f"{path.as_posix()}:{one}", damaged, file=path, line=one) for one in range(number, last + 1)
        )


def _readable() -> bool:
    return importlib.util.find_spec("pyarrow") is not None


def _opened(path: Path) -> pq.ParquetFile | ItemError:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException):
        return ItemError("unreadable", f"{path}: cannot be read as Parquet", cause="not_parquet")


def _rows(file: pq.ParquetFile, first: int) -> Iterator[Mapping[str, Any]]:
    """The rows from one on; groups of rows before it are not read."""
    known = [name for name in ("id", *CONTENT, "attributes", *sorted(MANIFEST_KEYS)) if name in file.schema_arrow.names]
    before, groups = first - 1, list(range(file.metadata.num_row_groups))
    while groups and file.metadata.row_group(groups[0]).num_rows <= before:
        before -= file.metadata.row_group(groups.pop(0)).num_rows
    batches = file.iter_batches(batch_size=_BATCH, columns=known, row_groups=groups)
    return islice((row for batch in batches for row in _plain(batch)), before, None)


def _plain(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any]]:
    """Rows as what they say; a batch without columns has rows too."""
    for row in batch.to_pylist() or [{}] * len(batch):
        yield {name: value for name, value in row.items() if value is not None}


def _entry(row: Mapping[str, Any], where: str, folder: Path, most: Most) -> Entry:
    one = row.get("id", row.get("path", where))
    one = str(one) if isinstance(one, int) else one
    facts = {key: row[key] for key in MANIFEST_KEYS & row.keys()}
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


def _texts(given: Any) -> Any:
    """Attributes as an object, of a map or a struct."""
    pairs = given.items() if isinstance(given, dict) else given
    return {name: value for name, value in pairs if value is not None} if isinstance(given, dict | list) else given
