"""Kept vectors: a round trip of every field, what is left out with its reason, and what is refused at its place."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from moderation.errors import DataError
from moderation.history.files import kept_whole, parquet_files, refuse_kept
from moderation.history.items import NO_DAY, UNKNOWN, Target
from moderation.history.vectors import MODALITIES, KeptItem, read_items, read_parts, read_vectors, write_vectors
from moderation.item import Modality
from tests.unit.history import kept
from tests.unit.history.kept import item, unit

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
ITEMS = [
    item(
        "a",
        IMAGE,
        TEXT,
        cluster="gun",
        time=dt.datetime(2026, 8, 31, 23, 59, tzinfo=dt.UTC),
        attributes={"surface": "chat"},
    ),
    item("b", TEXT, targets={"weapons": Target(violates=True, weight=2.5), "fire": Target(violates=False)}),
    item("c", IMAGE, error="truncated", cluster="kite", attributes={"surface": "chat", "region": "x|y"}),
]


def write(path: Path, items: list[KeptItem] = ITEMS, vectors: Any = None, **told: str) -> Path:
    count = sum(len(one.parts) for one in items)
    named = {"identity": "f" * 32, "numeric": "cpu"} | told
    write_vectors(path / "one.parquet", items, unit(count) if vectors is None else vectors, **named)
    return path / "one.parquet"


def read(path: Path, policy: str = "weapons", **changes: Any) -> list[Any]:
    return list(read_vectors([path], policy, **{"identity": "f" * 32, "width": kept.WIDTH} | changes))


@given(kept.items)
def test_every_field_comes_back_and_the_same_items_are_the_same_bytes(items: list[KeptItem]) -> None:
    vectors = unit(sum(len(one.parts) for one in items))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), items, vectors)
        first = path.read_bytes()
        found, there = read_items(path)
        assert write(Path(folder), items, vectors).read_bytes() == first
        assert [one.name for one in Path(folder).iterdir()] == ["one.parquet"]
    assert found == items
    with_vector = [not part.error for one in items for part in one.parts]
    assert there[with_vector].tobytes() == vectors[with_vector].tobytes()
    assert not there[[not one for one in with_vector]].any()


def test_columns_say_what_the_rows_said(tmp_path: Path) -> None:
    (batch,) = read(write(tmp_path).parent)
    assert batch.items.item.tolist() == ["a", "b", "c"]
    assert batch.items.target.tolist() == [UNKNOWN, 1, UNKNOWN]
    assert np.array_equal(batch.items.weight, [np.nan, 2.5, np.nan], equal_nan=True)
    assert batch.items.day.tolist() == [(dt.date(2026, 8, 31) - dt.date(1970, 1, 1)).days, NO_DAY, NO_DAY]
    surface, region = batch.items.attributes["surface"], batch.items.attributes["region"]
    assert (surface.names, surface.codes.tolist()) == (("chat",), [0, UNKNOWN, 0])
    assert (region.names, region.codes.tolist()) == (("x|y",), [UNKNOWN, UNKNOWN, 0])
    assert len(set(batch.items.cluster.tolist())) == 3
    assert batch.items.cluster[1] == batch.items.mark[1]  # no cluster: the item alone
    assert batch.row.tolist() == [0, 0, 1, 2]
    assert [MODALITIES[place] for place in batch.modality] == [IMAGE, TEXT, TEXT, IMAGE]
    assert batch.encoded.tolist() == [True, True, True, False]
    assert (batch.numeric, batch.skipped) == ("cpu", {})


def test_targets_are_those_of_the_policy_that_is_asked_about(tmp_path: Path) -> None:
    (batch,) = read(write(tmp_path), "fire")
    assert batch.items.target.tolist() == [UNKNOWN, 0, UNKNOWN]
    (batch,) = read(write(tmp_path), "alcohol")
    assert batch.items.target.tolist() == [UNKNOWN] * 3


def test_what_cannot_be_tried_is_left_out_and_counted_by_its_first_reason(tmp_path: Path) -> None:
    items = [
        item("nan"),
        item("long"),
        item("zero"),
        item("fine", TEXT, IMAGE),
        item(""),
        KeptItem(item("none").fact, ()),
    ]
    vectors = unit(6)
    vectors[0, 0], vectors[1], vectors[2] = np.nan, vectors[1] * 2, 0
    table = pq.read_table(write(tmp_path, [*items, item("odd")], np.concatenate([vectors, unit(1)])))
    odd = table.column("parts").to_pylist()
    odd[-1][0]["modality"] = "smell"
    columns = {name: table.column(name) for name in table.column_names} | {
        "parts": pa.array(odd, table.column("parts").type)
    }
    pq.write_table(pa.table(columns).replace_schema_metadata(table.schema.metadata), tmp_path / "one.parquet")
    (batch,) = read(tmp_path)
    assert batch.items.item.tolist() == ["fine"]
    assert batch.row.tolist() == [0, 0]
    assert batch.vectors.tobytes() == vectors[3:5].tobytes()
    assert batch.skipped == {
        "a vector is not finite, or not of unit length": 3,
        "it has no id": 1,
        "it has no parts": 1,
        "a part is of an unknown modality": 1,
    }


def test_parts_of_one_modality_come_alone_with_their_places_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    items = [*ITEMS, item("d", IMAGE, IMAGE), item("e", IMAGE)]
    vectors = unit(7)
    vectors[6, 0] = np.inf
    write(tmp_path, items, vectors)
    (batch,) = read_parts([tmp_path], IMAGE, identity="f" * 32, width=kept.WIDTH)
    assert batch.item.to_pylist() == ["a", "d", "d"]
    assert batch.place.tolist() == [0, 0, 1]
    assert batch.digest.to_pylist() == ["a0", "d0", "d1"]
    assert batch.vectors.tobytes() == vectors[[0, 4, 5]].tobytes()
    assert batch.left_out == {"it has no vector": 1, "a vector is not finite, or not of unit length": 1}
    (batch,) = read_parts([tmp_path], TEXT, identity="f" * 32, width=kept.WIDTH)
    assert (batch.item.to_pylist(), batch.place.tolist(), batch.left_out) == (["a", "b"], [1, -1], {})


def test_parts_of_another_encoder_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    for changes, message in (({"identity": "g"}, "expected those of g"), ({"width": 16}, "expected 16")):
        with pytest.raises(DataError, match=message):
            list(read_parts([tmp_path], IMAGE, **{"identity": "f" * 32, "width": kept.WIDTH} | changes))


def changed(path: Path, change: Callable[[dict[str, Any]], None], *, metadata: bool = True) -> Path:
    table = pq.read_table(path)
    columns = {name: table.column(name) for name in table.column_names}
    change(columns)
    found = pa.table(columns)
    pq.write_table(found.replace_schema_metadata(table.schema.metadata) if metadata else found, path)
    return path


def test_other_tools_may_leave_columns_out_and_write_texts_their_way(tmp_path: Path) -> None:
    def change(columns: dict[str, Any]) -> None:
        columns["item"] = columns["item"].cast(pa.large_string())
        columns["cluster"] = columns["cluster"].dictionary_encode()
        columns["time"] = columns["time"].cast(pa.timestamp("ns", "Europe/Berlin"))
        columns["note"] = pa.array([1, 2, 3])
        del columns["targets"], columns["attributes"]

    (before,) = read(write(tmp_path))
    (batch,) = read(changed(tmp_path / "one.parquet", change))
    assert batch.items.item.tolist() == before.items.item.tolist()
    assert (batch.items.cluster == before.items.cluster).all()
    assert (batch.items.day == before.items.day).all()
    assert batch.items.target.tolist() == [UNKNOWN] * 3
    assert batch.items.attributes == {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda columns: columns.pop("parts"), "has no column 'parts'"),
        (lambda columns: columns.pop("item"), "has no column 'item'"),
        (lambda columns: columns.update(item=pa.array([1, 2, 3])), "column 'item' holds int64; expected string"),
        (lambda columns: columns.update(targets=pa.array(["x"] * 3)), "column 'targets' holds string; expected map"),
        (lambda columns: columns.update(time=pa.array(["now"] * 3)), "column 'time' holds string; expected timestamp"),
        (lambda columns: columns.update(parts=pa.array([[1.0]] * 3)), "column 'parts' holds list"),
    ],
)
def test_columns_of_another_type_are_refused_with_both(tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(DataError, match=rf"one\.parquet.*{says}"):
        read(changed(write(tmp_path), change))


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"identity": "g"}, "of encoder f{32}; expected those of g"), ({"width": 16}, "of width 8; expected 16")],
)
def test_another_encoder_or_width_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(write(tmp_path), **changes)


def test_a_suffix_in_capitals_is_one_too(tmp_path: Path) -> None:
    for name in ("b.PARQUET", "a.parquet", "c.txt"):
        (tmp_path / name).touch()
    assert [one.name for one in parquet_files([tmp_path], "what")] == ["a.parquet", "b.PARQUET"]
    with pytest.raises(DataError, match=r"holds a\.parquet and 1 more like it already"):
        refuse_kept(tmp_path)


def keep_one(folder: Path, text: str, meanwhile: Callable[[], object]) -> None:
    with kept_whole(folder) as there:
        there.mkdir()
        (there / "a.parquet").write_text(text)
        meanwhile()


@pytest.mark.parametrize("fails", [True, False])
def test_what_another_run_kept_in_a_folder_meanwhile_is_let_be(tmp_path: Path, fails: bool) -> None:
    def another() -> None:
        keep_one(tmp_path, "fast", lambda: None)
        if fails:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, DataError), match=None if fails else r"holds a\.parquet already"):
        keep_one(tmp_path, "slow", another)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.parquet", "fast")]


def test_a_folder_without_files_and_a_file_that_is_none_of_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        read(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"x\.parquet.*cannot be read as Parquet"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"gone\.parquet.*cannot be read"):
        read(tmp_path / "gone.parquet")
    with pytest.raises(DataError, match="is not written as vectors/v1"):
        read(changed(write(tmp_path), lambda _columns: None, metadata=False))


@pytest.mark.parametrize("where", [0.2, 0.5, 0.8])
def test_a_damaged_file_is_told_by_name_and_never_read_half(tmp_path: Path, where: float) -> None:
    path = write(tmp_path, [item(str(number), cluster=str(number)) for number in range(500)])
    content = bytearray(path.read_bytes())
    first = int(len(content) * where)
    content[first : first + 400] = b"\xff" * 400
    path.write_bytes(bytes(content))
    told = []
    try:
        told += [reason for batch in read(path) for reason in batch.skipped]  # what was hit was a vector
    except DataError as error:
        told.append(str(error))
    assert told
    assert all("one.parquet" in one or "a vector is not finite" in one for one in told)


def test_where_it_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be written"):
        write(tmp_path / "file")


def test_no_more_rows_are_held_than_a_batch_whatever_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation.history.files.ROWS_AT_ONCE", 64)
    write(tmp_path, [item(str(number)) for number in range(300)])
    assert [len(batch.items) for batch in read(tmp_path)] == [64, 64, 64, 64, 44]
