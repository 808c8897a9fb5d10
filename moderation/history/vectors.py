"""Embeddings kept as Parquet: a folder of files whose vectors any later policy can be tried on, without the content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from moderation.detector.sound import is_sound, lengths
from moderation.errors import DataError, Problem
from moderation.history.facts import FIELDS, conform, encoded, fact_columns, read_columns, read_facts, rows_of
from moderation.history.files import open_file, parquet_files, tables, write_table
from moderation.history.items import Fact, Items
from moderation.item import Modality

SCHEMA = "vectors/v1"
ROWS = 16_384  # in a row group

MODALITIES = tuple(Modality)
_REASONS = (
    "it has no id",
    "it has no parts",
    "a part is of an unknown modality",
    "a vector is not finite, or not of unit length",
)


@dataclass(frozen=True, slots=True)
class KeptPart:
    """One part of an item: the digest of its content, and why it has no vector where it has none."""

    modality: Modality
    digest: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class KeptItem:
    """One item: what is known of it, and its parts."""

    fact: Fact
    parts: tuple[KeptPart, ...]


@dataclass(frozen=True, slots=True, eq=False)
class VectorBatch:
    """n items that can be tried, and the p parts they have; `numeric` is the numeric class of the encoder that made the vectors.

    `row` int64 [p] is the item that a part is of, `modality` int64 [p] its place among MODALITIES, `vectors` float16 [p, d] is zero where
    a part has no vector, which `encoded` bool [p] says. `skipped` counts rows of the file that are left out, by reason.
    """

    items: Items
    numeric: str
    row: NDArray[np.int64]
    modality: NDArray[np.int64]
    vectors: NDArray[np.float16]
    encoded: NDArray[np.bool_]
    skipped: Mapping[str, int]

    def take(self, rows: NDArray[np.bool_]) -> VectorBatch:
        """The items that `rows` [n] marks, with their parts; what the file left out is told once, by the whole."""
        own = rows[self.row]
        return VectorBatch(
            items=self.items.take(np.flatnonzero(rows)),
            numeric=self.numeric,
            row=(np.cumsum(rows) - 1)[self.row[own]],
            modality=self.modality[own],
            vectors=self.vectors[own],
            encoded=self.encoded[own],
            skipped={},
        )


@dataclass(frozen=True, slots=True, eq=False)
class PartBatch:
    """p parts of one modality that have a vector, float16 [p, d]: whose part each is (pyarrow's strings [p]), its place among that item's parts, or -1
    where there is no other, int64 [p], and the content's digest (strings [p]). `left_out` counts the modality's other parts, by reason.
    """

    item: pa.Array
    place: NDArray[np.int64]
    digest: pa.Array
    vectors: NDArray[np.float16]
    left_out: Mapping[str, int]


def write_vectors(
    path: Path, items: Sequence[KeptItem], vectors: NDArray[np.float16], *, identity: str, numeric: str
) -> None:
    """One file of kept items; `vectors` float16 [p, d] holds one row for each part, in order, and those of parts with an error are not kept.

    The same items give the same bytes.
    """
    parts = [part for item in items for part in item.parts]
    ends = np.cumsum([0, *(len(item.parts) for item in items)]).astype(np.int32)
    kept = [None if part.error else vector.tobytes() for part, vector in zip(parts, vectors, strict=True)]
    columns = [
        pa.array([part.modality.value for part in parts], pa.string()),
        pa.array([part.digest for part in parts], pa.string()),
        pa.array(kept, pa.binary(2 * vectors.shape[1])),
        pa.array([part.error or None for part in parts], pa.string()),
    ]
    kind = _parts(vectors.shape[1])
    lists = pa.ListArray.from_arrays(pa.array(ends), pa.StructArray.from_arrays(columns, fields=list(kind.value_type)))
    table = pa.table({**fact_columns([item.fact for item in items]), "parts": lists.cast(kind)})
    told = {"encoder_identity": identity, "encoder_numeric": numeric}
    write_table(table, path, schema=SCHEMA, told=told, rows=ROWS, dense="parts.list.element.vector")


def holds_vectors(path: Path) -> bool:
    """Whether `write_vectors` wrote this file."""
    try:
        open_file(path, SCHEMA)
    except DataError:
        return False
    return True


def read_items(path: Path) -> tuple[list[KeptItem], NDArray[np.float16]]:
    """What `write_vectors` wrote, whole; vectors of parts that have none are zero. Raises DataError as `read_vectors` does."""
    file, _ = open_file(path, SCHEMA)
    table = file.read()
    lists = table.column("parts").combine_chunks()
    width = lists.type.value_type.field("vector").type.byte_width // 2
    items = [
        KeptItem(fact, tuple(KeptPart(Modality(one["modality"]), one["digest"], one["error"] or "") for one in parts))
        for fact, parts in zip(read_facts(table), lists.to_pylist(), strict=True)
    ]
    return items, _vectors(pc.struct_field(lists.flatten(), "vector"), width)[0]


def read_vectors(places: Sequence[Path], policy: str, *, identity: str, width: int) -> Iterator[VectorBatch]:
    """Every kept item of every file named, and of every folder's files, with its targets under this policy.

    Raises DataError for a folder without files, a file that is none of ours or damaged, and one of another encoder or width.
    """
    for table, numeric in _tables(places, list(FIELDS), identity=identity, width=width):
        yield _batch(table, policy, numeric, width)


def read_parts(places: Sequence[Path], modality: Modality, *, identity: str, width: int) -> Iterator[PartBatch]:
    """Every kept part of this modality, with nothing else that is known of its item. Raises DataError as `read_vectors` does."""
    for table, _ in _tables(places, ["item"], identity=identity, width=width):
        lists = table.column("parts").combine_chunks()
        row, span = rows_of(lists)
        parts = lists.values[span]
        vectors, there = _vectors(pc.struct_field(parts, "vector"), width)
        own = _modalities(pc.struct_field(parts, "modality")) == MODALITIES.index(modality)
        unsound = there & ~is_sound(lengths(vectors))
        left_out = {"it has no vector": int((own & ~there).sum()), _REASONS[-1]: int((own & unsound).sum())}
        kept = own & there & ~unsound
        alone = np.bincount(row, minlength=len(table))[row] == 1
        place = np.where(alone, -1, np.arange(len(row)) - np.searchsorted(row, row))
        yield PartBatch(
            item=table.column("item").combine_chunks().take(pa.array(row[kept])),
            place=place[kept],
            digest=pc.struct_field(parts, "digest").filter(pa.array(kept)),
            vectors=vectors if kept.all() else vectors[kept],
            left_out={reason: count for reason, count in left_out.items() if count},
        )


def _tables(
    places: Sequence[Path], names: Sequence[str], *, identity: str, width: int
) -> Iterator[tuple[pa.Table, str]]:
    """These columns and the parts, some rows at a time, and the numeric class of the encoder that made the vectors."""
    kinds = {**{name: FIELDS[name] for name in names}, "parts": _parts(width)}
    for path in parquet_files(places, "`moderation policy embed`"):
        file, told = open_file(path, SCHEMA)
        if told.get("encoder_identity") != identity:
            message = f"holds vectors of encoder {told.get('encoder_identity')}; expected those of {identity}"
            raise DataError([Problem(path, 0, 0, "D003", message)])
        _check_width(file, path, kinds["parts"])
        for table in tables(file, path, list(kinds)):
            yield conform(table, kinds, path), told.get("encoder_numeric", "")


def _parts(width: int) -> pa.DataType:
    part = {"modality": pa.string(), "digest": pa.string(), "vector": pa.binary(2 * width), "error": pa.string()}
    return pa.list_(pa.field("element", pa.struct(part)))


def _check_width(file: pq.ParquetFile, path: Path, kind: pa.DataType) -> None:
    """The one difference of type that is told in words."""
    found = file.schema_arrow.field("parts").type if "parts" in file.schema_arrow.names else None
    if found != kind and found is not None and pa.types.is_list(found) and pa.types.is_struct(found.value_type):
        place = found.value_type.get_field_index("vector")
        vector, expected = (
            found.value_type.field(place).type if place >= 0 else None,
            kind.value_type.field("vector").type,
        )
        if vector is not None and pa.types.is_fixed_size_binary(vector) and vector != expected:
            message = f"holds vectors of width {vector.byte_width // 2}; expected {expected.byte_width // 2}"
            raise DataError([Problem(path, 0, 0, "D003", message)])


def _batch(table: pa.Table, policy: str, numeric: str, width: int) -> VectorBatch:
    lists = table.column("parts").combine_chunks()
    row, span = rows_of(lists)
    parts = lists.values[span]
    vectors, there = _vectors(pc.struct_field(parts, "vector"), width)
    modality = _modalities(pc.struct_field(parts, "modality"))
    nameless = np.asarray(pc.fill_null(pc.equal(table.column("item"), ""), fill_value=True))
    why = _first_reason(
        len(table),
        np.flatnonzero(nameless),
        np.flatnonzero(np.bincount(row, minlength=len(table)) == 0),
        row[modality < 0],
        row[there & ~is_sound(lengths(vectors))],
    )
    counts = np.bincount(why, minlength=len(_REASONS) + 1)[1:].tolist()
    skipped = {reason: count for reason, count in zip(_REASONS, counts, strict=True) if count}
    whole = VectorBatch(read_columns(table.drop(["parts"]), policy), numeric, row, modality, vectors, there, skipped)
    return replace(whole.take(why == 0), skipped=skipped) if skipped else whole


def _first_reason(rows: int, *reasons: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the number, from 1, of the first reason that names it; 0 for none."""
    why = np.zeros(rows, np.int64)
    for number, named in reversed(list(enumerate(reasons, start=1))):
        why[named] = number
    return why


def _modalities(column: pa.Array) -> NDArray[np.int64]:
    """Places among MODALITIES, -1 for what is none."""
    known = encoded(column)
    places = [MODALITIES.index(Modality(name)) if name in set(Modality) else -1 for name in known.names]
    return np.array([*places, -1], np.int64)[known.codes]


def _vectors(column: pa.Array, width: int) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """The vectors, 0 where there is none, and which there are; no copy is made where all are there."""
    there = np.asarray(column.is_valid())
    if not there.any():
        return np.zeros((len(column), width), np.float16), there
    every = np.frombuffer(column.buffers()[1], np.float16).reshape(-1, width)
    vectors = every[column.offset : column.offset + len(column)]
    return vectors if there.all() else np.where(there[:, None], vectors, np.float16(0.0)), there
