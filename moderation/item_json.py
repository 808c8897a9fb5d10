"""Items as JSON states them, on a stream and over HTTP. What cannot be read is refused with its cause, never guessed, and nothing is ignored."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

from moderation.errors import ItemError
from moderation.item import ContentItem, Part, unfetchable
from moderation.meant import nearest

UNDECODABLE = "undecodable"
MOST_PARTS = 1000  # of one item
_ITEM = frozenset({"id", "text", "image", "video", "reference", "parts", "attributes"})
_CONTENT = ("text", "image", "video", "reference")
_CONTENTS = (*_CONTENT, "parts")
_PART = frozenset({*_CONTENT, "name"})
_LONG = 16  # characters: longer than any key of ours

Fetch = Callable[[str], bytes]


def item_of(body: Mapping[str, Any], otherwise: str, fetch: Fetch | None) -> ContentItem:
    """The item that a JSON object states; without an id of its own it is named `otherwise`. `fetch` gives the content of a reference.

    Raises ItemError whose cause says what is wrong: unknown keys, no content or several; the message quotes no content.
    """
    _known(body, _ITEM, "the item")
    given = [name for name in _CONTENTS if name in body]
    if len(given) != 1:
        raise refused(
            "no_content" if not given else "two_contents", "expected one of text, image, video, reference and parts"
        )
    parts = _parts(body["parts"], fetch) if given == ["parts"] else (_content(given[0], body[given[0]], "", fetch),)
    item_id = string(body["id"], "id") if "id" in body else otherwise
    return checked(item_id, parts, attributes_of(body["attributes"]) if "attributes" in body else {})


def attributes_of(given: Any) -> dict[str, str]:
    """An item's attributes. Raises ItemError for what is no object of strings."""
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise refused("wrong_item", "attributes: expected an object of strings")
    return dict(given)


def checked(item_id: str, parts: tuple[Part, ...], attributes: Mapping[str, str]) -> ContentItem:
    """An item of these. Raises ItemError for an empty id."""
    if not item_id:
        raise refused("no_id", "the item's id is empty")
    return ContentItem(item_id, parts, attributes)


def string(value: Any, what: str) -> str:
    """The value, if it is a string; else raises ItemError."""
    if not isinstance(value, str):
        raise refused("wrong_item", f"{what}: expected a string, found {type(value).__name__}")
    return value


def from_base64(value: Any, what: str) -> bytes:
    """The bytes that a value holds. Raises ItemError for what is no base64, of the standard alphabet and padded."""
    try:
        return base64.b64decode(string(value, what), validate=True)
    except (binascii.Error, ValueError):
        raise refused(
            "not_base64", f"{what}: no base64; expected the file's bytes in it, without `data:...;base64,` before"
        ) from None


def refused(cause: str, message: str) -> ItemError:
    """Why something cannot be read."""
    return ItemError(UNDECODABLE, message, cause=cause)


def _parts(rows: Any, fetch: Fetch | None) -> tuple[Part, ...]:
    if not isinstance(rows, list) or not rows:
        raise refused("wrong_item", "parts: expected a list of at least one part")
    if len(rows) > MOST_PARTS:
        raise refused("too_many_parts", f"an item of {len(rows)} parts; expected at most {MOST_PARTS}")
    return tuple(_part(row, fetch) for row in rows)


def _part(row: Any, fetch: Fetch | None) -> Part:
    if not isinstance(row, dict):
        raise refused("wrong_item", "a part is no object")
    _known(row, _PART, "a part")
    given = [name for name in _CONTENT if name in row]
    if len(given) != 1:
        raise refused("wrong_item", "a part needs one of text, image, video and reference")
    return _content(given[0], row[given[0]], string(row.get("name", ""), "name"), fetch)


def _content(kind: str, given: Any, name: str, fetch: Fetch | None) -> Part:
    content = string(given, kind)
    if kind == "text":
        return Part.text(content, name=name)
    if kind == "image":
        return Part.image(from_base64(content, kind), name=name)
    if kind == "video":
        return Part.video(from_base64(content, kind), name=name)
    if fetch is None:
        raise unfetchable(
            "no_fetcher", "a part is a reference, and the settings have no section fetch.SCHEME, such as [fetch.https]"
        )
    return Part.image(fetch(content), name=name)


def _known(row: Mapping[str, Any], keys: frozenset[str], what: str) -> None:
    """The message names the keys that are known, and the one that was found only where it is nearly one of them: else it may be content."""
    if not row.keys() <= keys:
        unknown = [key for key in row if key not in keys]
        raise refused("unknown_key", f"{what} has a key beside {', '.join(sorted(keys))}{_hint(unknown[0], keys)}")


def _hint(key: str, keys: frozenset[str]) -> str:
    if key == "path":
        return "; path is for files of a scan, here expected the content itself, as text, or as image in base64"
    meant = nearest(key.lower(), sorted(keys)) if len(key) < _LONG else None
    return f"; {key!r}: did you mean {meant!r}?" if meant else ""
