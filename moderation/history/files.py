"""Our Parquet files: how they are written, found and read, and what is said of one that cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from moderation.errors import DataError, Problem
from moderation.whole import written_whole

ROWS_AT_ONCE = 32_768
_KIND = "schema"


def write_table(
    table: pa.Table, path: Path, *, schema: str, told: Mapping[str, str], rows: int, dense: str | None = None
) -> None:
    """One file, by a rename, in groups of so many rows; `dense` names the column that no compression makes smaller.

    Raises DataError where it cannot be written.
    """
    described = table.replace_schema_metadata({_KIND: schema, **told})
    # "none" for a column wants every other one by name.
    names = [one for one in _leaves(described.schema) if one != dense]
    compression = {**dict.fromkeys(names, "zstd"), **({dense: "none"} if dense else {})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside, beside.open("wb") as sink:
            pq.write_table(
                described,
                sink,
                row_group_size=rows,
                use_dictionary=names,
                compression=compression,
                write_statistics=names,
            )
    except OSError as error:
        raise DataError([Problem(path, 0, 0, "D000", f"cannot be written: {error.strerror or error}")]) from None


def refuse_kept(folder: Path) -> None:
    """Raises DataError for a folder that already holds files of ours: a second run would replace some and leave others beside them."""
    kept = _ours(folder)
    if kept:
        more = f" and {len(kept) - 1} more like it" if kept[1:] else ""
        message = f"holds {kept[0].name}{more} already; give a new folder (backtest reads several)"
        raise DataError([Problem(folder, 0, 0, "D000", message)])


@contextmanager
def kept_whole(folder: Path) -> Iterator[Path]:
    """Where to write what a folder is to keep: it gets all of it in the end or nothing, at Ctrl-C neither, and what another puts there meanwhile is let be.

    Raises as `refuse_kept` does, in the end too: of two runs that began together the first one is kept.
    """
    refuse_kept(folder)
    beside, kept = folder / f".{uuid4().hex[:8]}", list[Path]()
    try:
        yield beside
        refuse_kept(folder)
        for one in _ours(beside):
            kept.append(folder / one.name)
            one.rename(kept[-1])
    except BaseException:
        for one in kept:
            one.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def parquet_files(places: Sequence[Path], command: str) -> list[Path]:
    """The files named, and those of the folders named in the order of their names.

    Raises DataError for a place without any; `command` is what writes them.
    """
    files: list[Path] = []
    for place in places:
        found = _ours(place) if place.is_dir() else [place]
        if not found:
            raise DataError([Problem(place, 0, 0, "D001", f"holds no .parquet file; expected what {command} writes")])
        files += found
    return files


def _ours(folder: Path) -> list[Path]:
    """The Parquet files of a folder, however their suffix is written."""
    return sorted(one for one in folder.glob("*") if one.suffix.lower() == ".parquet")


def open_file(path: Path, schema: str) -> tuple[pq.ParquetFile, dict[str, str]]:
    """A file of ours and what it tells of itself. Raises DataError for one that is no Parquet file, or not of this schema."""
    if path.exists() and not path.is_file():  # a pipe would be waited on for ever
        raise DataError([Problem(path, 0, 0, "D000", "not a regular file")])
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None
    told = {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for key, value in (file.schema_arrow.metadata or {}).items()
    }
    if told.get(_KIND) != schema:
        raise DataError(
            [Problem(path, 0, 0, "D003", f"is not written as {schema}, but as {told.get(_KIND, 'something else')}")]
        )
    return file, told


def tables(file: pq.ParquetFile, path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """These columns, as far as the file has them, some rows at a time. Raises DataError where the file turns out to be damaged."""
    present = [name for name in columns if name.split(".")[0] in file.schema_arrow.names]
    try:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=present):
            yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from None


def _leaves(schema: pa.Schema) -> list[str]:
    """Every column of the file as Parquet names it."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    found = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [found.column(place).path for place in range(len(found))]


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError([Problem(path, 0, 0, "D002", f"cannot be read as Parquet: {reason}")])
