"""Every form of a record, read as it is meant; everything else refused by name, without its content."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from moderation.errors import ItemError
from moderation.item import ContentItem, Modality
from moderation.stream.batch import ForeignName, Headers, Partition, Record
from moderation.stream.envelope import read_item

PNG = b"\x89PNG\r\n\x1a\nrest"


def record(value: bytes | None, *headers: tuple[str, bytes | None]) -> Record:
    return Record(Partition("in", 3), 42, 0, None, value, headers, 0)


def as_json(**body: Any) -> bytes:
    return json.dumps(body).encode()


def seen(item: ContentItem | None) -> tuple[str, list[tuple[Modality, bytes, str]], dict[str, str]]:
    assert item is not None
    return item.id, [(part.modality, part.content, part.name) for part in item.parts], dict(item.attributes)


IMAGE, TEXT = Modality.IMAGE, Modality.TEXT
CLOUD: Headers = (("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"/shop"), ("ce_type", b"listing"))
EVENT = {"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "listing"}
B64 = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (record(PNG), ("in-3-42", [(IMAGE, PNG, "")], {})),
        (record(b"any bytes", ("Content-Type", b"image/webp")), ("in-3-42", [(IMAGE, b"any bytes", "")], {})),
        (
            record("hé".encode(), ("content-type", b"text/plain; charset=utf-8"), ("id", b"c7"), ("attribute-surface", b"chat")),
            ("c7", [(TEXT, "hé".encode(), "")], {"surface": "chat"}),
        ),
        (record(b"\xff", ("content-type", b"text/plain")), ("in-3-42", [(TEXT, b"\xff", "")], {})),
        (record(as_json(id="7", text="hello")), ("7", [(TEXT, b"hello", "")], {})),
        (record(as_json(image=B64)), ("in-3-42", [(IMAGE, PNG, "")], {})),
        (
            record(as_json(id="7", parts=[{"text": "a", "name": "title"}, {"image": B64}], attributes={"language": "en"})),
            ("7", [(TEXT, b"a", "title"), (IMAGE, PNG, "")], {"language": "en"}),
        ),
        (record(PNG, *CLOUD, ("ce_surface", b"story"), ("content-type", b"image/png")), ("e-1", [(IMAGE, PNG, "")], {"surface": "story"})),
        (record(as_json(text="a"), *CLOUD), ("e-1", [(TEXT, b"a", "")], {})),
        (record(as_json(id="own", text="a"), *CLOUD, ("ce_surface", b"x")), ("own", [(TEXT, b"a", "")], {"surface": "x"})),
        (
            record(as_json(**EVENT, data={"text": "a"}, surface="story"), ("content-type", b"application/cloudevents+json; charset=UTF-8")),
            ("e-1", [(TEXT, b"a", "")], {"surface": "story"}),
        ),
        (
            record(as_json(**EVENT, data={"text": "a"}, sampledrate=30, vip=True, subject=None, data_base64=None, note=None), ("content-type", b"application/cloudevents+json")),
            ("e-1", [(TEXT, b"a", "")], {"sampledrate": "30", "vip": "true"}),
        ),
        (
            record(as_json(**EVENT, datacontenttype="image/png", data_base64=B64), ("content-type", b"application/cloudevents+json")),
            ("e-1", [(IMAGE, PNG, "")], {}),
        ),
        (
            record(as_json(**EVENT, datacontenttype="text/plain", data="a"), ("content-type", b"application/cloudevents+json")),
            ("e-1", [(TEXT, b"a", "")], {}),
        ),
        (record(as_json(**EVENT, data_base64=B64), ("content-type", b"application/cloudevents+json")), ("e-1", [(IMAGE, PNG, "")], {})),
        (
            record(as_json(**EVENT, datacontenttype="application/json", data_base64=base64.b64encode(b'{"text": "a"}').decode()), ("content-type", b"application/cloudevents+json")),
            ("e-1", [(TEXT, b"a", "")], {}),
        ),
        (record(as_json(text="a"), ("content-type", b"application/vnd.shop+json")), ("in-3-42", [(TEXT, b"a", "")], {})),
        (record(PNG, ("content-type", b"image/png; charset=binary")), ("in-3-42", [(IMAGE, PNG, "")], {})),
    ],
)  # fmt: skip
def test_what_a_record_holds(given: Record, wanted: Any) -> None:
    assert seen(read_item(given)) == wanted


def test_an_action_of_osprey() -> None:
    action = {"action_id": 99, "action_name": "create_post", "data": {"post": {"text": "a"}, "avatar": B64, "other": 1}}
    given = record(as_json(send_time="2026-11-28T00:00:00Z", data=action))
    found = read_item(given, osprey_texts=["post.text", "bio"], osprey_images=["avatar"])
    wanted = ("99", [(TEXT, b"a", "post.text"), (IMAGE, PNG, "avatar")], {"action_name": "create_post"})
    assert seen(found) == wanted


def test_a_record_without_a_value_shows_nothing() -> None:
    assert read_item(record(None)) is None


def test_a_reference_is_fetched_by_who_may_and_refused_without() -> None:
    given = record(as_json(parts=[{"reference": "s3://bucket/key", "name": "photo"}]))
    with pytest.raises(ItemError) as refused:
        read_item(given)
    assert (refused.value.cause, "[fetch.https]" in str(refused.value)) == ("no_fetcher", True)
    asked = []
    found = read_item(given, fetch=lambda url: asked.append(url) or PNG)  # type: ignore[func-returns-value]
    assert (asked, seen(found)[1]) == (["s3://bucket/key"], [(IMAGE, PNG, "photo")])


SECRET = "zebra-content"
JSON = ("content-type", b"application/json")


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (record(b""), "not_json"),
        (record(SECRET.encode()), "not_json"),
        (record(b'{"text": "' + SECRET.encode()), "not_json"),
        (record(b'["zebra-content"]'), "not_json"),
        (record(b'{"text": "a", "text": "zebra-content"}'), "duplicate_key"),
        (record(b'{"attributes": {"a": "1", "a": "zebra-content"}, "text": "b"}'), "duplicate_key"),
        (record(b'{"text": NaN}'), "not_json"),
        (record(b'{"text": "\xff"}'), "not_json"),
        (record(rb'{"text": "\ud800"}'), "not_utf8"),
        (record(b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "not_json"),
        (record(b'{"text": ' + b"[" * 40 + b"]" * 40 + b"}"), "too_deep"),
        (record(as_json(id="1")), "no_content"),
        (record(as_json(text=SECRET, image=B64)), "two_contents"),
        (record(as_json(text=SECRET, audio="x")), "unknown_key"),
        (record(as_json(parts=[])), "wrong_item"),
        (record(as_json(parts=[SECRET])), "wrong_item"),
        (record(as_json(parts=[{"text": SECRET, "image": B64}])), "wrong_item"),
        (record(as_json(parts=[{"text": SECRET, "zebra-content": 1}])), "unknown_key"),
        (record(as_json(parts=[{"text": SECRET}] * 1001)), "too_many_parts"),
        (record(as_json(text=7)), "wrong_item"),
        (record(as_json(id=7, text=SECRET)), "wrong_item"),
        (record(as_json(id="", text=SECRET)), "no_id"),
        (record(as_json(image=SECRET)), "not_base64"),
        (record(as_json(text=SECRET, attributes={"a": 1})), "wrong_item"),
        (record(as_json(text=SECRET), ("content-type", b"video/mp4")), "content_type"),
        (record(PNG, ("ce_specversion", b"1.0"), ("content-type", b"image/png")), "cloud_event"),
        (record(PNG, *CLOUD, ("content-type", b"video/mp4")), "content_type"),
        (record(as_json(**EVENT), ("content-type", b"application/cloudevents+json")), "no_content"),
        (record(as_json(text=SECRET), ("content-type", b"application/cloudevents+json")), "cloud_event"),
        (record(PNG, ("attribute-surface", b"\xff")), "not_utf8"),
        (record(PNG, ("attribute-surface", b"a"), ("Attribute-Surface", b"b")), "duplicate_key"),
        (record(PNG, *CLOUD, ("ce_surface", b"a"), ("ce_surface", b"b")), "duplicate_key"),
        (record(SECRET.encode("utf-16le"), ("content-type", b"text/plain; charset=utf-16le")), "charset"),
        (record(as_json(text=SECRET), ("content-type", b'application/json; charset="latin-1"')), "charset"),
        (record(as_json(**EVENT, data={"text": SECRET}, data_base64=B64), ("content-type", b"application/cloudevents+json")), "two_contents"),
        (record(as_json(**EVENT, data_base64=B64, datacontenttype="video/mp4"), ("content-type", b"application/cloudevents+json")), "content_type"),
        (record(as_json(**EVENT | {"specversion": "9.9"}, data={"text": SECRET}), ("content-type", b"application/cloudevents+json")), "cloud_event"),
        (record(as_json(**EVENT | {"source": {"a": SECRET}}, data={"text": SECRET}), ("content-type", b"application/cloudevents+json")), "wrong_item"),
        (record(PNG, (ForeignName("zebra\udcff"), b"")), "not_utf8"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name_and_never_quoted(given: Record, cause: str) -> None:
    with pytest.raises(ItemError) as refused:
        read_item(given)
    assert (refused.value.reason, refused.value.cause) == ("undecodable", cause)
    assert "zebra" not in str(refused.value)


@pytest.mark.parametrize(
    "given",
    [
        record(b"film", ("content-type", b"video/mp4")),
        record(b"film", *CLOUD, ("content-type", b"video/webm")),
        record(as_json(video=base64.b64encode(b"film").decode())),
        record(as_json(parts=[{"video": base64.b64encode(b"film").decode()}])),
    ],
)
def test_videos_are_taken_where_a_reader_reads_them(given: Record) -> None:
    read = read_item(given, videos=True)
    assert read is not None
    assert [(part.modality, part.content) for part in read.parts] == [(Modality.VIDEO, b"film")]
    with pytest.raises(ItemError) as refused:
        read_item(given)
    assert (refused.value.reason, refused.value.cause) == ("undecodable", "content_type")


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        ({"data": {"text": "a"}}, "osprey"),
        ({"action_id": 1, "data": "a"}, "osprey"),
        ({"action_id": 1, "data": {"bio": "a"}}, "no_content"),
        ({"action_id": 1, "data": {"text": 3}}, "wrong_item"),
        ({"action_id": [SECRET], "data": {"text": "a"}}, "wrong_item"),
        ({"action_id": None, "data": {"text": "a"}}, "wrong_item"),
    ],
)
def test_an_action_that_is_none_is_refused(action: Any, cause: str) -> None:
    with pytest.raises(ItemError) as refused:
        read_item(record(as_json(data=action)), osprey_texts=["text"])
    assert refused.value.cause == cause


@pytest.mark.parametrize("name", ["content-type", "id", "Content-Type", "attribute-surface", "ce_id"])
def test_a_header_that_says_what_is_judged_stands_once(name: str) -> None:
    twice = record(PNG, (name, b"image/png"), (name.casefold(), b"text/plain"), ("content-type", b"image/png"))
    with pytest.raises(ItemError) as refused:
        read_item(twice)
    assert refused.value.cause == "duplicate_key"
    others = record(PNG, ("content-type", b"image/png"), ("traceparent", b"a"), ("traceparent", b"b"))
    assert seen(read_item(others))[1] == [(IMAGE, PNG, "")]
