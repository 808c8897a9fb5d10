"""Laws of a scan's sources: whatever a line says, it is one entry, and reading it gives an item or a reason."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import DataError, ItemError
from moderation.source.find import find

KEYS = st.sampled_from(["id", "path", "text", "parts", "attributes", "name", "target"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=4),
    max_leaves=8,
)
ROWS = st.dictionaries(KEYS, VALUES, max_size=4).map(lambda row: json.dumps(row).encode())
LINES = st.binary().map(lambda line: line.replace(b"\n", b"")) | ROWS


@given(st.lists(LINES, min_size=1, max_size=6))
def test_every_line_that_says_anything_is_one_item_or_one_reason(lines: list[bytes]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "items.jsonl")
        path.write_bytes(b"\n".join(lines))
        count = sum(bool(line.strip()) for line in lines)
        if not count:
            with pytest.raises(DataError, match="no item in it"):
                find([path], max_bytes=1000)
            return
        found = find([path], max_bytes=1000)
        entries = list(found.entries)
        assert len(entries) == found.total == count
        for entry in entries:
            assert entry.id
            try:
                assert entry.read().id == entry.id
            except ItemError as error:
                assert error.reason in {"unsupported_input", "unreadable"}  # noqa: PT017  both outcomes are right
