"""Tables of items: every row is an entry, whatever it holds, and where rows stand is found again."""

from __future__ import annotations

import datetime as dt
import importlib.util
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moderation.cli.facts import fact_of
from moderation.errors import ItemError, SettingsError
from moderation.history.items import Target
from moderation.item import ContentItem
from moderation.source import tables, together
from moderation.source.find import find

LIMIT = 1000


def table(file: Path, /, rows: int = 2, **columns: Any) -> Path:
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), file, row_group_size=rows)
    return file


def read(*paths: Path) -> list[ContentItem | str]:
    """Each row's item, or why there is none."""
    found = find(paths, max_bytes=LIMIT)
    entries = list(found.entries)
    assert len(entries) == found.total
    items: list[ContentItem | str] = []
    for entry in entries:
        try:
            item = entry.read()
        except ItemError as error:
            items.append(str(error))
        else:
            assert item.id == entry.id
            items.append(item)
    return items


def contents(items: list[ContentItem | str]) -> list[Any]:
    return [one if isinstance(one, str) else [part.content for part in one.parts] for one in items]


def test_a_row_is_a_file_a_text_or_the_bytes_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"one")
    path = table(
        tmp_path / "t.parquet",
        id=["a", None, "c", None],
        path=["a.png", "a.png", None, None],
        text=[None, None, "words", None],
        image=pa.array([None, None, None, b"two"], pa.binary()),
        attributes=pa.array([[("surface", "post")], None, None, None], pa.map_(pa.string(), pa.string())),
        width=[1, 2, 3, 4],
    )
    items = [one for one in read(path) if isinstance(one, ContentItem)]
    assert [one.id for one in items] == ["a", "a.png", "c", f"{path}:4"]
    assert [(part.modality.value, part.content) for one in items for part in one.parts] == [
        ("image", b"one"), ("image", b"one"), ("text", b"words"), ("image", b"two"),
    ]  # fmt: skip
    assert [one.attributes for one in items] == [{"surface": "post"}, {}, {}, {}]


def test_pictures_as_data_sets_hold_them_and_items_of_several_parts(tmp_path: Path) -> None:
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    path = table(tmp_path / "hub.parquet", image=pa.array([{"bytes": b"one", "path": "x.png"}], image), id=[7])
    (item,) = read(path)
    assert isinstance(item, ContentItem)
    assert (item.id, item.parts[0].content) == ("7", b"one")
    parts = [[{"text": "title", "name": "title"}, {"image": b"two", "name": "photo"}]]
    (item,) = read(table(tmp_path / "parts.parquet", parts=parts, attributes=[{"surface": "post", "language": None}]))
    assert isinstance(item, ContentItem)
    assert [(part.name, part.content) for part in item.parts] == [("title", b"title"), ("photo", b"two")]
    assert item.attributes == {"surface": "post"}


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a", None]}, "no content"),
        ({"text": ["a", "b"], "path": [None, "a.png"]}, "found path and text"),
        ({"text": ["a", "b"], "id": ["1", ""]}, "'id' is neither"),
        ({"text": ["a", "b"], "id": [0.5, 1.5]}, "'id' is neither"),
        ({"text": pa.array([b"a", b"b"])}, "text: found bytes"),
        ({"image": ["a", "b"]}, "image: found str"),
        ({"image": [b"a", b"x" * 1001]}, "larger than 1000 bytes"),
        ({"path": ["a.txt", "gone.png"]}, "No such file"),
        ({"path": ["a.txt", "a.doc"]}, "neither picture nor text"),
        ({"parts": [[{"text": "a"}], []]}, "at least one part"),
        ({"parts": [["a"], ["b"]]}, "a part is no struct"),
        ({"text": ["a", "b"], "attributes": [{"n": 1}, {"n": 2}]}, "not an object of strings"),
    ],
)
def test_a_row_that_says_nothing_is_an_error_of_its_own(columns: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert reason in str(read(table(tmp_path / "t.parquet", **columns))[-1])


def test_a_text_that_is_not_utf8_costs_its_row_alone(tmp_path: Path) -> None:
    wrong = pa.Array.from_buffers(pa.string(), 3, [None, *pa.array([b"a", b"\xff", b"c"]).buffers()[1:]])
    assert [isinstance(one, str) for one in read(table(tmp_path / "t.parquet", rows=3, text=wrong))] == [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("times", "wrong"),
    [
        (pa.array([1, 2**31 - 1, 3], pa.date32()), [1]),
        (pa.array([1, 2**62, 3], pa.duration("s")), [1]),
        (pa.array([1, 2, 3], pa.timestamp("us", "Nowhere/Nowhere")), [0, 1, 2]),
    ],
)
def test_a_time_of_no_calendar_or_zone_costs_its_row_alone(times: pa.Array, wrong: list[int], tmp_path: Path) -> None:
    found = read(table(tmp_path / "t.parquet", rows=3, text=["a", "b", "c"], time=times))
    assert [place for place, one in enumerate(found) if isinstance(one, str)] == wrong
    assert all("cannot be told" in str(found[place]) for place in wrong)


def test_a_damaged_table_has_an_entry_for_every_row(tmp_path: Path) -> None:
    path = table(tmp_path / "t.parquet", rows=10, text=[f"{n} {'x' * 50}" for n in range(100)])
    at = pq.read_metadata(path).row_group(5).column(0).dictionary_page_offset
    held = bytearray(path.read_bytes())
    held[at : at + 40] = b"\xff" * 40
    path.write_bytes(held)
    found = read(path)
    assert len(found) == 100
    assert [isinstance(one, str) for one in found] == [False] * 50 + [True] * 10 + [False] * 40
    assert "damaged" in str(found[50])
    path.write_bytes(b"nothing of the kind")
    assert ["cannot be read as Parquet" in str(one) for one in read(path)] == [True]


def test_tables_without_content_are_left_alone_in_folders(tmp_path: Path) -> None:
    table(tmp_path / "f" / "other.parquet", score=[0.5])
    table(tmp_path / "f" / "items.parquet", text=["a"])
    found = find([tmp_path / "f"], max_bytes=LIMIT)
    assert ([Path(one).name for one in found.left_alone], found.total) == (["other.parquet"], 1)
    assert "no content" in str(read(tmp_path / "f" / "other.parquet")[0])


def test_a_pipe_is_no_table_and_is_not_waited_on(tmp_path: Path) -> None:
    pipe = tmp_path / "f" / "pipe.parquet"
    table(tmp_path / "f" / "items.parquet", text=["a"])
    os.mkfifo(pipe)
    assert find([tmp_path / "f"], max_bytes=LIMIT).left_alone == [str(pipe)]
    (entry,) = find([pipe], max_bytes=LIMIT).entries
    with pytest.raises(ItemError, match="not a regular file"):
        entry.read()


def test_what_a_manifest_says_stands_beside_the_row(tmp_path: Path) -> None:
    time = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
    known = {"target": [True], "cluster": ["c"], "time": pa.array([time], pa.timestamp("us", tz="UTC"))}
    path = table(tmp_path / "t.parquet", text=["a"], attributes=[{"surface": "post"}], **known)
    (entry,) = find([path], max_bytes=LIMIT).entries
    assert (entry.file, entry.line) == (path, 1)
    found = fact_of(entry, "weapons")
    assert (found.cluster, found.time, found.attributes) == ("c", time, {"surface": "post"})
    assert found.targets == {"weapons": Target(violates=True)}


def test_without_pyarrow_a_table_is_refused_by_the_name_of_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path / "t.parquet", text=["a"])
    (tmp_path / "a.txt").write_text("a")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"moderation\[history\]"):
        find([path], max_bytes=LIMIT)
    assert [Path(one).name for one in find([tmp_path], max_bytes=LIMIT).left_alone] == ["t.parquet"]


@pytest.mark.parametrize("small", [0, 3000])
def test_of_a_table_no_more_is_held_than_the_bound_a_few_rows_and_a_page(
    small: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows of a batch stood in memory before the first was counted, and all of a group behind them; `small` rows hide how large others are."""
    large, size = 32, 500_000
    monkeypatch.setattr(together, "BYTES", 2 * size)
    monkeypatch.setattr(tables, "_LARGE", 2 * size)
    pictures = [os.urandom(size) for _ in range(large)] + [b"x"] * small
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": pictures}), path, use_dictionary=False, write_batch_size=1)  # a picture a page
    del pictures
    before, arrow, counts = pa.total_allocated_bytes(), 0, []
    tracemalloc.start()
    try:
        for read in together.read_together(find([path], max_bytes=size).entries, 32):
            counts.append(len(read))
            arrow = max(arrow, pa.total_allocated_bytes() - before)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (sum(counts), counts[:16]) == (large + small, [2] * 16)
    assert held < 4 * size  # the bound, and one
    assert arrow < (40 if small else 8) * size  # a batch that grew by doubling, and a page
