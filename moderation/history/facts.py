"""What is known of items as columns of a Parquet file: written from rows, read as columns; both kinds of files share them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moderation.errors import DataError, Problem
from moderation.history.items import NO_DAY, UNKNOWN, Column, Fact, Items, Target, marks_of

TEXTS = pa.map_(pa.string(), pa.string())
FIELDS: Mapping[str, pa.DataType] = {
    "item": pa.string(),
    "cluster": pa.string(),
    "time": pa.timestamp("us", tz="UTC"),
    "attributes": TEXTS,
    "targets": pa.map_(pa.string(), pa.struct({"violates": pa.bool_(), "weight": pa.float64()})),
}
_DAY = 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896  # the days that a calendar has a name for


def fact_columns(facts: Sequence[Fact]) -> dict[str, pa.Array]:
    """Facts as the columns of FIELDS."""
    values: dict[str, list[Any]] = {
        "item": [one.item for one in facts],
        "cluster": [one.cluster or None for one in facts],
        "time": [one.time for one in facts],
        "attributes": [list(one.attributes.items()) for one in facts],
        "targets": [[(name, _plain(one)) for name, one in fact.targets.items()] for fact in facts],
    }
    return {name: pa.array(values[name], kind) for name, kind in FIELDS.items()}


def read_facts(table: pa.Table) -> list[Fact]:
    """The facts of a table's rows: the inverse of `fact_columns`."""
    columns = [table.column(name).to_pylist() for name in FIELDS]
    return [
        Fact(item, cluster or "", time, dict(attributes or ()), {name: Target(**one) for name, one in targets or ()})
        for item, cluster, time, attributes, targets in zip(*columns, strict=True)
    ]


def read_columns(table: pa.Table, policy: str) -> Items:
    """The rows as columns, with the targets under this policy."""
    items = table.column("item").fill_null("").to_pylist()
    mark = marks_of(items)
    clusters = encoded(table.column("cluster"))
    own = marks_of(clusters.names)
    target, weight, elsewhere = _targets(table.column("targets"), policy)
    return Items(
        item=np.array(items, object),
        mark=mark,
        # A cluster may be named like an item, which is then of that cluster: most often it is a copy of it.
        cluster=np.where(clusters.codes == UNKNOWN, mark, own[clusters.codes] if len(own) else mark),
        attributes=_attributes(table.column("attributes")),
        target=target,
        weight=weight,
        day=_days(table.column("time")),
        elsewhere=elsewhere,
    )


def conform(table: pa.Table, kinds: Mapping[str, pa.DataType], path: Path) -> pa.Table:
    """The table with these columns alone, of these types; a column of FIELDS that is absent says nothing, but `item` must be there.

    Raises DataError for a column that is missing or of another type, found and expected.
    """
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        if name in table.column_names:
            found = table.column(name)
            if found.type != kind and not _alike(found.type, kind):
                raise DataError([Problem(path, 0, 0, "D003", f"column {name!r} holds {found.type}; expected {kind}")])
            columns[name] = found.cast(kind, safe=False)
        elif name == "item" or name not in FIELDS:
            raise DataError([Problem(path, 0, 0, "D003", f"has no column {name!r}; expected one of {kind}")])
        else:
            columns[name] = pa.nulls(len(table), kind)
    return pa.table(columns)


def encoded(column: pa.ChunkedArray | pa.Array) -> Column:
    """A column of texts by places of their names."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    whole = whole if pa.types.is_dictionary(whole.type) else whole.dictionary_encode()
    return Column(tuple(whole.dictionary.to_pylist()), filled(whole.indices, UNKNOWN).astype(np.int64))


def rows_of(lists: pa.Array) -> tuple[NDArray[np.int64], slice]:
    """The row of each entry of an array of lists or maps, and where its entries lie among all values."""
    offsets = lists.offsets.to_numpy()
    return np.repeat(np.arange(len(lists)), np.diff(offsets)), slice(int(offsets[0]), int(offsets[-1]))


def _attributes(column: pa.ChunkedArray) -> dict[str, Column]:
    """Each attribute as a column of its own; of a name that a row has twice, the last counts."""
    maps = column.combine_chunks()
    rows, span = rows_of(maps)
    names, values = (encoded(one[span]) for one in (maps.keys, maps.items))
    attributes = {}
    for place, name in enumerate(names.names):
        own = names.codes == place
        codes = np.full(len(maps), UNKNOWN, np.int64)
        codes[rows[own]] = values.codes[own]
        used, fewer = np.unique(codes[codes != UNKNOWN], return_inverse=True)
        codes[codes != UNKNOWN] = fewer
        attributes[name] = Column(tuple(values.names[one] for one in used), codes)
    return dict(sorted(attributes.items()))


def _targets(column: pa.ChunkedArray, policy: str) -> tuple[NDArray[np.int8], NDArray[np.float64], frozenset[str]]:
    """What rows say under this policy, and under which others some say anything."""
    maps = column.combine_chunks()
    rows, span = rows_of(maps)
    keys = maps.keys[span]
    own = np.asarray(pc.fill_null(pc.equal(keys, policy), fill_value=False))
    target, weight = np.full(len(maps), UNKNOWN, np.int8), np.full(len(maps), np.nan)
    said = maps.items[span]
    target[rows[own]] = filled(pc.struct_field(said, "violates").cast(pa.int8()), UNKNOWN)[own]
    weight[rows[own]] = filled(pc.struct_field(said, "weight"), np.nan)[own]
    return target, weight, frozenset(pc.unique(keys).to_pylist()) - {policy}


def _days(column: pa.ChunkedArray) -> NDArray[np.int64]:
    since = column.combine_chunks().cast(pa.int64())
    days = filled(since, 0) // _DAY
    named = np.asarray(since.is_valid()) & (days >= _FIRST_DAY) & (days <= _LAST_DAY)
    return np.where(named, days, NO_DAY)


def _alike(found: pa.DataType, kind: pa.DataType) -> bool:
    """Whether one is but another form of the other: texts, times. Nothing nested: pyarrow may end the process over a cast of it."""
    if pa.types.is_timestamp(kind):
        return bool(pa.types.is_timestamp(found))
    plain = found.value_type if pa.types.is_dictionary(found) else found
    return bool(pa.types.is_string(kind) and (pa.types.is_string(plain) or pa.types.is_large_string(plain)))


def filled(array: pa.Array, value: float) -> NDArray[Any]:
    """The values, with this one where there is none."""
    filled: NDArray[Any] = array.fill_null(value).to_numpy(zero_copy_only=False)
    return filled


def _plain(target: Target) -> dict[str, Any]:
    return {"violates": target.violates, "weight": target.weight}
