"""One thing to judge that is not read yet, and how its parts are read: files and texts, within bounds."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moderation.errors import ItemError
from moderation.item import VIDEOS, ContentItem, Modality, Part

Most = Mapping[str, int]  # by suffix of what is judged, the most bytes that a file may have
# A data manifest may be scanned as it is: what it knows about a row is evidence, not content.
MANIFEST_KEYS = frozenset({"sha256", "target", "cluster", "weight", "time", "source", "licence"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing to judge, not read yet. `read` raises ItemError when there is nothing that could be judged.

    `row` is the line of JSON, or the row of a table without its content, that names it and `line` its number, from 1, in `file`; 0 for what is
    a file itself.
    """

    id: str
    read: Callable[[], ContentItem]
    row: Mapping[str, Any] = field(default_factory=dict)
    file: Path = Path()
    line: int = 0


def file_entry(path: Path, most: Most) -> Entry:
    """A file that is an item of one part."""
    one = printable(path)
    return Entry(one, lambda: ContentItem(one, (file_part(path, most=most),)))


def failing(one: str, error: ItemError, *, file: Path = Path(), line: int = 0) -> Entry:
    """An entry that cannot be read, and says why."""

    def read() -> ContentItem:
        raise error

    return Entry(one, read, file=file, line=line)


def item_of(one: str, rows: Sequence[Mapping[str, Any]], attributes: Any, folder: Path, most: Most) -> ContentItem:
    """An item of these parts, each with one of `path`, `text` and `image` (bytes), and `name`; paths are from `folder` on."""
    named = isinstance(attributes, dict) and all(isinstance(value, str) for value in attributes.values())
    expect(named, "'attributes' is not an object of strings")
    return ContentItem(one, tuple(_part(row, folder, most) for row in rows), dict(attributes))


def file_part(path: Path, *, most: Most, name: str = "") -> Part:
    """What a file holds. Raises ItemError where it is none, of the wrong kind, too large, or not UTF-8; which file, its entry's name says."""
    suffix = path.suffix.lower()
    what = f"a file of kind {suffix or 'unknown'!r} is neither picture nor text; expected {', '.join(sorted(most))}"
    if suffix in VIDEOS:
        what = 'no reader in force reads videos; name one that does, such as readers.use = ["video"], in the settings (plugin moderation-video)'
    expect(suffix in most, what, cause="wrong_kind")
    max_bytes = most[suffix]
    try:
        # A pipe or a device would be read for ever.
        expect(stat.S_ISREG(path.stat().st_mode), "not a regular file", cause="not_a_file")
        with path.open("rb") as stream:
            content = stream.read(max_bytes + 1)
    except OSError as error:
        raise unreadable(error) from None
    except ValueError as error:
        raise ItemError("unreadable", str(error), cause="wrong_path") from None
    expect(len(content) <= max_bytes, f"larger than {max_bytes} bytes", cause="too_many_bytes")
    part = Part.from_file(path, content, name=name)
    expect(part.modality is Modality.VIDEO or part.fault is None, "not UTF-8", cause="not_utf8")
    return part


def printable(path: Path) -> str:
    """A path for people: a name that is not UTF-8 must still be printable."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def unreadable(error: OSError) -> ItemError:
    """Why a file cannot be read."""
    causes = {FileNotFoundError: "no_such_file", PermissionError: "no_permission"}
    cause = causes.get(type(error), "read_failed")
    return ItemError("unreadable", str(error.strerror), cause=cause)


def expect(holds: bool, message: str, *, cause: str = "wrong_item") -> None:  # noqa: FBT001
    """Raises ItemError where something does not hold."""
    if not holds:
        raise ItemError("unsupported_input", message, cause=cause)


def _part(row: Mapping[str, Any], folder: Path, most: Most) -> Part:
    name = row.get("name", "")
    if "image" in row:
        # Of all suffixes of pictures the bound is the same.
        expect(len(row["image"]) <= most[".png"], f"a picture larger than {most['.png']} bytes", cause="too_many_bytes")
        return Part.image(row["image"], name=name)
    if "text" in row:
        return _text(row["text"], name)
    path = folder / row["path"]
    try:
        return file_part(path, name=name, most=most)
    except ItemError as error:  # the item's name need not be the file's
        raise ItemError(error.reason, f"{path}: {error.message}", cause=error.cause) from None


def _text(text: str, name: str) -> Part:
    try:
        return Part.text(text, name=name)
    except UnicodeEncodeError:
        raise ItemError("unsupported_input", "the text holds half a surrogate pair", cause="not_utf8") from None
