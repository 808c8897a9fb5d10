"""Laws of portions: together they are the whole input, each entry once and in order, wherever it is cut."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import DataError
from moderation.scaleout.decider import decoded, encoded
from moderation.source.find import find
from moderation.source.portions import digest_of, portions

LINE = st.sampled_from([b"", b"  ", b'{"text": "a"}', b'{"id": "x", "text": "b"}', b"nonsense", b"\xff"])
FILE = st.one_of(
    st.tuples(st.just("lines"), st.lists(LINE, max_size=20)),
    st.tuples(st.just("table"), st.lists(st.none() | st.text(max_size=3), max_size=20)),
    st.tuples(st.just("text"), st.text(max_size=5)),
)


@given(st.lists(FILE, min_size=1, max_size=4), st.integers(1, 7), st.integers(1, 5))
def test_portions_are_the_input_whatever_their_size(
    files: list[tuple[str, list[bytes]]], size: int, group: int
) -> None:
    with TemporaryDirectory() as folder:
        paths = [written(Path(folder), number, *file, group=group) for number, file in enumerate(files)]
        if not any(holds_an_item(*file) for file in files):
            with pytest.raises(DataError, match="no item in it"):
                find(paths, max_bytes=1000)
            return
        found = find(paths, max_bytes=1000)
        cut = list(portions(found.files, size))
        assert [one.number for one in cut] == list(range(len(cut)))
        assert [one.count for one in cut[:-1]] == [size] * len(cut[:-1])
        assert sum(one.count for one in cut) == found.total
        expected = [(one.id, one.row, one.file, one.line) for one in found.entries]
        taken = [(e.id, e.row, e.file, e.line) for one in cut for e in decoded(encoded(one)).entries(found.most)]
        assert taken == expected
        assert digest_of(cut) == digest_of(list(portions(found.files, size)))


def holds_an_item(kind: str, held: list[bytes]) -> bool:
    return kind == "text" or (any(line.strip() for line in held) if kind == "lines" else bool(held))


def written(folder: Path, number: int, kind: str, held: list[bytes], *, group: int) -> Path:
    if kind == "lines":
        path = folder / f"{number}.jsonl"
        path.write_bytes(b"\n".join(held))
    elif kind == "table":
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table({"text": pa.array(held, pa.string())}), path, row_group_size=group)
    else:
        path = folder / f"{number}.txt"
        path.write_text(json.dumps(held))
    return path


@given(st.integers(0, 6))
def test_any_other_input_has_another_digest(place: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.jsonl")
        lines = ['{"text": "a"}'] * 6
        path.write_text("\n".join(lines))
        before = digest_of(list(portions([path], 4)))
        path.write_text("\n".join([*lines[:place], '{"text": "b "}', *lines[place + 1 :]]))
        assert digest_of(list(portions([path], 4))) != before
