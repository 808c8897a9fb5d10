"""Whatever bytes come: an item, nothing, or a refusal; never another exception, and the same answer twice."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moderation.errors import ItemError
from moderation.item import ContentItem
from moderation.stream.batch import Partition, Record
from moderation.stream.envelope import read_item

NAMES = st.sampled_from(
    ["content-type", "Content-Type", "ce_specversion", "ce_id", "ce_source", "ce_type", "id", "attribute-a"]
) | st.text(max_size=5)
VALUES = (
    st.none()
    | st.binary(max_size=20)
    | st.sampled_from([b"image/png", b"text/plain", b"application/json", b"application/cloudevents+json", b"1.0"])
)
KEYS = st.sampled_from(["id", "text", "image", "parts", "attributes", "data", "data_base64", "name", "action_id"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4))
BODIES = (
    st.none()
    | st.binary(max_size=60)
    | st.dictionaries(KEYS, TREES, max_size=6).map(lambda body: json.dumps(body).encode())
)


def outcome(record: Record) -> Any:
    try:
        return read_item(record, osprey_texts=[])
    except ItemError as error:
        return str(error)


@given(BODIES, st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_any_record_is_an_item_or_a_refusal(value: bytes | None, headers: list[tuple[str, bytes | None]]) -> None:
    record = Record(Partition("in", 0), 7, 0, None, value, tuple(headers), 0)
    found = outcome(record)
    assert found is None or isinstance(found, ContentItem | str)
    assert found == outcome(record)


PART = st.one_of(
    st.text(max_size=20).map(lambda text: ({"text": text}, text.encode())),
    st.binary(max_size=40).map(lambda content: ({"image": base64.b64encode(content).decode()}, content)),
)


@given(
    st.text(min_size=1, max_size=9),
    st.lists(PART, min_size=1, max_size=4),
    st.dictionaries(st.text(max_size=4), st.text(max_size=4)),
)
def test_what_is_written_is_read(item_id: str, parts: list[Any], attributes: dict[str, str]) -> None:
    body = {"id": item_id, "parts": [row for row, _ in parts], "attributes": attributes}
    item = read_item(Record(Partition("in", 0), 7, 0, None, json.dumps(body).encode(), (), 0))
    assert item is not None
    assert (item.id, [part.content for part in item.parts], dict(item.attributes)) == (
        item_id, [content for _, content in parts], attributes,
    )  # fmt: skip
