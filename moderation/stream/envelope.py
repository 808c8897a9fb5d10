"""Records into items: raw content, JSON, CloudEvents, Osprey's envelope. What cannot be read is refused with its cause, never guessed.

A record says what it is by its header `content-type`; one without is told by its first bytes. Nothing is ignored: a key that is not known
might hold content that nobody judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moderation.item import ContentItem, Modality, Part, is_utf8
from moderation.item_json import Fetch, attributes_of, checked, from_base64, item_of, refused, string
from moderation.policy.json_source import DuplicateKeyError, read_json
from moderation.stream.batch import ForeignName, Headers, Record

DEEPEST = 32
ATTRIBUTE = "attribute-"  # of a header that states an attribute of raw content
CLOUD = "ce_"
_CLOUD_CORE = frozenset({"specversion", "id", "source", "type", "time", "subject", "dataschema", "datacontenttype"})
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"RIFF")


def read_item(
    record: Record,
    *,
    fetch: Fetch | None = None,
    osprey_texts: Sequence[str] = (),
    osprey_images: Sequence[str] = (),
    videos: bool = False,
) -> ContentItem | None:
    """The item that a record holds; None for a record without a value, which deletes a key and shows nothing.

    An item without an id of its own is named after its place, `topic-partition-offset`. `fetch` gives the content of a reference, and
    without it a reference is refused; `osprey_texts` and `osprey_images` (base64) name the fields of an action's data that hold content,
    nested ones with dots. Without `videos` there is no reader for any, and they are refused. Raises ItemError whose cause says what is wrong;
    the message quotes no content.
    """
    if record.value is None:
        return None
    item = _item(record, record.value, fetch, osprey_texts, osprey_images)
    if not videos and any(part.modality is Modality.VIDEO for part in item.parts):
        raise refused("content_type", "it holds a video, and no reader in force reads videos")
    return item


def _item(
    record: Record, value: bytes, fetch: Fetch | None, osprey_texts: Sequence[str], osprey_images: Sequence[str]
) -> ContentItem:
    if any(isinstance(name, ForeignName) for name, _ in record.headers):
        raise refused("not_utf8", "the name of a header is no UTF-8")
    _unambiguous(record.headers)
    headers = {name.casefold(): value or b"" for name, value in record.headers}
    kind = _media_type(headers.get("content-type", b""))
    if kind == "application/cloudevents+json":
        return _structured(value, fetch)
    if CLOUD + "specversion" in headers:
        return _binary(value, headers, kind, fetch)
    if _is_raw(value, kind):
        attributes = {
            name.removeprefix(ATTRIBUTE): _utf8(value, name)
            for name, value in headers.items()
            if name.startswith(ATTRIBUTE)
        }
        return _raw(value, kind, _utf8(headers.get("id", b""), "id") or _place(record), attributes)
    if _is_json(kind):
        body = _object(value)
        if osprey_texts or osprey_images:
            return _osprey(body, osprey_texts, osprey_images)
        return item_of(body, "" if "id" in body else _place(record), fetch)
    raise refused("content_type", "the header content-type names neither a picture, nor a video, nor text, nor JSON")


def _place(record: Record) -> str:
    return f"{record.partition}-{record.offset}"


def _is_raw(value: bytes, kind: str) -> bool:
    """Whether a value is content as it is: by its type, or, where it has none, by its first bytes."""
    return kind.startswith(("image/", "video/")) or kind == "text/plain" or (not kind and value.startswith(_PICTURES))


def _is_json(kind: str) -> bool:
    return kind in {"", "application/json"} or kind.endswith("+json")


def _raw(value: bytes, kind: str, item_id: str, attributes: Mapping[str, str]) -> ContentItem:
    """Content as it is. Text that is no UTF-8 is still an item: what judges it says so."""
    files = Modality.VIDEO if kind.startswith("video/") else Modality.IMAGE
    part = Part(Modality.TEXT if kind == "text/plain" else files, value)
    return checked(item_id, (part,), attributes)


def _binary(value: bytes, headers: Mapping[str, bytes], kind: str, fetch: Fetch | None) -> ContentItem:
    """CloudEvents in Kafka's binary mode: attributes are headers, the value is the data."""
    told = {name.removeprefix(CLOUD): _utf8(one, name) for name, one in headers.items() if name.startswith(CLOUD)}
    extensions = {name: one for name, one in told.items() if name not in _CLOUD_CORE}
    item_id = _cloud_id(told)
    return _data(value, kind, item_id, extensions, fetch)


def _data(value: bytes, kind: str, item_id: str, attributes: Mapping[str, str], fetch: Fetch | None) -> ContentItem:
    """The item in the bytes of an event's data."""
    if _is_raw(value, kind):
        return _raw(value, kind, item_id, attributes)
    if _is_json(kind):
        return _named(_object(value), item_id, attributes, fetch)
    raise refused("content_type", "the event's data is neither a picture, nor a video, nor text, nor JSON")


def _structured(value: bytes, fetch: Fetch | None) -> ContentItem:
    """CloudEvents as one JSON object."""
    event = {name: one for name, one in _object(value).items() if one is not None}  # null says what absence says
    extensions = {
        name: _canonical(one)
        for name, one in event.items()
        if name not in _CLOUD_CORE and name not in {"data", "data_base64"}
    }
    item_id = _cloud_id(event)
    kind = _media_type(string(event.get("datacontenttype", ""), "datacontenttype").encode())
    if "data" in event and "data_base64" in event:
        raise refused("two_contents", "the event has both data and data_base64")
    if "data_base64" in event:
        return _data(from_base64(event["data_base64"], "data_base64"), kind, item_id, attributes_of(extensions), fetch)
    data = event.get("data")
    if isinstance(data, str) and kind == "text/plain":
        return checked(item_id, (Part.text(data),), attributes_of(extensions))
    if isinstance(data, dict) and _is_json(kind):
        return _named(data, item_id, attributes_of(extensions), fetch)
    raise refused("no_content", "the event has no data that could be judged")


def _canonical(value: Any) -> Any:
    """An extension as a header would have it: in JSON it may be a boolean or a whole number, too."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


def _cloud_id(event: Mapping[str, Any]) -> str:
    missing = [name for name in ("specversion", "id", "source", "type") if not event.get(name)]
    if missing:
        raise refused("cloud_event", f"the event lacks {', '.join(missing)}")
    if not string(event["specversion"], "specversion").startswith("1."):
        raise refused("cloud_event", "the event's specversion is not 1.x")
    string(event["source"], "source"), string(event["type"], "type")
    return string(event["id"], "id")


def _named(body: Mapping[str, Any], item_id: str, attributes: Mapping[str, str], fetch: Fetch | None) -> ContentItem:
    """An item inside an event: the event's id is its id, where it has none of its own, and extensions are attributes."""
    made = item_of(body, item_id, fetch)
    return ContentItem(made.id, made.parts, {**attributes, **made.attributes})


def _osprey(body: Mapping[str, Any], texts: Sequence[str], images: Sequence[str]) -> ContentItem:
    """Osprey's action: `{send_time, data: {action_id, action_name, data}}`; its name is the attribute `action_name`."""
    action = body.get("data")
    if not isinstance(action, dict) or not isinstance(action.get("data"), dict) or "action_id" not in action:
        raise refused("osprey", "expected an action: data with action_id, action_name and data")
    fields = [(path, path in images, _dig(action["data"], path)) for path in (*texts, *images)]
    parts = [
        Part.image(from_base64(one, path), name=path) if image else Part.text(string(one, path), name=path)
        for path, image, one in fields
        if one is not None
    ]
    if not parts:
        raise refused("no_content", "the action has none of the fields that hold content")
    given, name = action["action_id"], string(action.get("action_name", ""), "action_name")
    item_id = str(given) if type(given) is int else string(given, "action_id")
    return checked(item_id, tuple(parts), {"action_name": name})


def _dig(data: Any, path: str) -> Any:
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _object(value: bytes) -> dict[str, Any]:
    """A JSON object, read strictly: of a key that stands twice, readers would judge different texts."""
    try:
        found = read_json(value)
    except DuplicateKeyError:
        raise refused("duplicate_key", "a key stands twice in one object") from None
    except ValueError:
        raise refused("not_json", "the value is no JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise refused("not_json", "the value is JSON, but no object")
    _shallow(found)
    if b"\\u" in value and not is_utf8(found):
        raise refused("not_utf8", "a string holds half a surrogate pair")
    return found


def _shallow(value: dict[str, Any] | list[Any], depth: int = 0) -> None:
    if depth > DEEPEST:
        raise refused("too_deep", f"the JSON is nested beyond {DEEPEST} levels")
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, dict | list):
            _shallow(one, depth + 1)


def _utf8(value: bytes, name: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise refused("not_utf8", f"the header {name} is no UTF-8") from None


def _media_type(value: bytes) -> str:
    """What a content type names. Bytes in another code than UTF-8 are refused: read as UTF-8 they might say something else."""
    if not value:
        return ""
    kind, *parameters = value.decode("latin-1").casefold().split(";")
    for one in parameters:
        name, _, told = one.partition("=")
        if (
            name.strip() == "charset"
            and not kind.startswith("image/")
            and told.strip(' "') not in {"utf-8", "utf8", "us-ascii"}
        ):
            raise refused("charset", "the content is in another code than UTF-8")
    return kind.strip()


def _unambiguous(headers: Headers) -> None:
    """The type and attributes choose what is judged, and by whom: of two that bear one name, each reader would take another."""
    if len(headers) < 2:
        return
    told = [name.casefold() for name, _ in headers]
    names = [one for one in told if one in {"content-type", "id"} or one.startswith((ATTRIBUTE, CLOUD))]
    if len(names) != len(set(names)):
        raise refused("duplicate_key", "a header stands twice: content-type, id, or an attribute's")
