"""Embeddings kept as Parquet: a folder of files whose vectors any later policy can be tried on, without the content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moderation.errors import DataError, Problem

SCHEMA = "vectors/v1"
_IDENTITY, _NUMERIC, _KIND = b"encoder_identity", b"encoder_numeric", b"schema"
_NORM = 0.01  # a stored vector's length may differ so much from 1: float16 of 512 numbers differs by less


@dataclass(frozen=True, slots=True, eq=False)
class StoredRow:
    """One item beside its vector: the content's digest, its modality, and what was known of it; `target` None where nobody judged it."""

    id: str
    modality: str
    target: bool | None
    cluster: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class StoredBatch:
    """Rows with their vectors, float16 [n, d]; `skipped` counts rows of the file that are left out, by reason."""

    rows: tuple[StoredRow, ...]
    vectors: NDArray[np.float16]
    skipped: dict[str, int]


def write_vectors(
    folder: Path, name: str, rows: Sequence[StoredRow], vectors: NDArray[np.float16], *, identity: str, numeric: str
) -> Path:
    """One file of a folder, with the fingerprint of the encoder that made the vectors; the file's path."""
    width = vectors.shape[1]
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1), type=pa.float16())
    table = pa.table(
        {
            "id": pa.array([row.id for row in rows], pa.string()),
            "modality": pa.array([row.modality for row in rows], pa.string()),
            "target": pa.array([row.target for row in rows], pa.bool_()),
            "cluster": pa.array([row.cluster for row in rows], pa.string()),
            "attributes": pa.array([list(row.attributes.items()) for row in rows], pa.map_(pa.string(), pa.string())),
            "vector": pa.FixedSizeListArray.from_arrays(flat, width),
        }
    ).replace_schema_metadata({_KIND: SCHEMA.encode(), _IDENTITY: identity.encode(), _NUMERIC: numeric.encode()})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    beside = path.with_suffix(".part")
    pq.write_table(table, beside)
    beside.replace(path)
    return path


def read_vectors(folder: Path, *, identity: str, width: int) -> Iterator[StoredBatch]:
    """Every row group of every file in the folder, files in the order of their names.

    Vectors that are not finite or not of unit length are left out and counted. Raises DataError for a folder without files, a file that is
    none of ours, or one of another encoder or width.
    """
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise DataError(
            [
                Problem(
                    folder,
                    0,
                    0,
                    "D001",
                    "holds no .parquet file; expected vectors as `moderation policy embed` writes them",
                )
            ]
        )
    for path in paths:
        file = _open(path, identity, width)
        for group in range(file.num_row_groups):
            yield _batch(file.read_row_group(group), width)


def _open(path: Path, identity: str, width: int) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError([Problem(path, 0, 0, "D002", f"no Parquet file: {str(error).splitlines()[0]}")]) from None
    told = file.schema_arrow.metadata or {}
    message = ""
    if told.get(_KIND) != SCHEMA.encode():
        message = f"is not written as {SCHEMA}"
    elif told.get(_IDENTITY, b"").decode() != identity:
        message = f"holds vectors of encoder {told.get(_IDENTITY, b'').decode()}; the lock is of {identity}"
    elif file.schema_arrow.field("vector").type != pa.list_(pa.float16(), width):
        message = f"holds {file.schema_arrow.field('vector').type}; expected float16 vectors of width {width}"
    if message:
        raise DataError([Problem(path, 0, 0, "D003", message)])
    return file


def _batch(table: pa.Table, width: int) -> StoredBatch:
    column = table.column("vector").combine_chunks()
    present = ~np.asarray(column.is_null())
    flat = np.nan_to_num(
        np.asarray(column.fill_null([0.0] * width).flatten().to_numpy(zero_copy_only=False), np.float16), nan=np.nan
    )
    vectors = flat.reshape(-1, width)
    finite = np.isfinite(vectors).all(axis=1) & present
    length = np.linalg.norm(np.where(finite[:, None], vectors, 0).astype(np.float32), axis=1)
    unit = np.abs(length - 1.0) <= _NORM
    kept = finite & unit
    skipped = {"not finite": int((~finite).sum()), "not of unit length": int((finite & ~unit).sum())}
    names = ("id", "modality", "target", "cluster", "attributes")
    columns = [table.column(name).to_pylist() for name in names]
    rows = tuple(
        StoredRow(id_, modality, target, cluster, dict(attributes or ()))
        for keep, id_, modality, target, cluster, attributes in zip(kept, *columns, strict=True)
        if keep
    )
    return StoredBatch(rows, vectors[kept], {reason: count for reason, count in skipped.items() if count})
