"""What is judged: an item, made of parts that are images or text; a video is read into such parts first."""

from __future__ import annotations

import hashlib
import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from moderation.errors import ItemError

Region = tuple[float, float, float, float]  # left, top, right, bottom, in fractions of an upright picture

BEHIND = "/"  # between readers, one behind the other
UNSUPPORTED_INPUT = "unsupported_input"
UNFETCHABLE = "unfetchable"


class Modality(StrEnum):
    """What a part is made of; policies and detectors judge images and text (JUDGED), a video is for readers alone."""

    IMAGE = "image"
    TEXT = "text"
    VIDEO = "video"


JUDGED = (Modality.IMAGE, Modality.TEXT)
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})


def modality_of(path: Path) -> Modality:
    """What a file of this name is read as."""
    suffix = path.suffix.lower()
    return Modality.TEXT if suffix == ".txt" else Modality.VIDEO if suffix in VIDEOS else Modality.IMAGE


def content_digest(content: bytes) -> str:
    """SHA-256 of the content, in hex: the content's identity in caches, manifests and erasure."""
    return hashlib.sha256(content).hexdigest()


def is_utf8(value: Any) -> bool:
    """Whether every string of a JSON value can be written as UTF-8: JSON can name half a surrogate pair, which cannot."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Part:
    """One image or video (the bytes of its file) or one text (UTF-8) of an item.

    `name` tells parts of one item apart; `source` names the part that this one was derived from, and `region` is the place in that picture;
    `reader` is who did that, after those through whom the source came (`video/ocr`). `unread` says why a reader could not derive it: it stands in the place of what nobody has seen.
    """

    modality: Modality
    content: bytes = field(repr=False)
    name: str = ""
    source: str = ""
    unread: ItemError | None = None
    reader: str = ""
    region: Region | None = None

    @classmethod
    def image(cls, content: bytes, *, name: str = "") -> Part:
        """A picture, as the bytes of a JPEG, PNG, WebP or GIF file."""
        return cls(Modality.IMAGE, content, name)

    @classmethod
    def text(cls, text: str, *, name: str = "") -> Part:
        """A text."""
        return cls(Modality.TEXT, text.encode("utf-8"), name)

    @classmethod
    def video(cls, content: bytes, *, name: str = "") -> Part:
        """A video, as the bytes of its file; only a reader can make something of it."""
        return cls(Modality.VIDEO, content, name)

    @classmethod
    def from_file(cls, path: Path, content: bytes, *, name: str = "") -> Part:
        """What a file of this name holds: UTF-8 text in a .txt (a byte order mark is no part of it), a video in a .mp4 and its like, else a picture."""
        modality = modality_of(path)
        return cls(modality, content.removeprefix(BOM_UTF8) if modality is Modality.TEXT else content, name)

    @property
    def fault(self) -> ItemError | None:
        """Why nothing can read this part, where that can be told without decoding a picture."""
        if self.unread:
            return self.unread
        if self.modality is Modality.VIDEO:
            return ItemError(UNSUPPORTED_INPUT, "no reader in force reads videos", cause="no_reader")
        if self.modality is Modality.TEXT:
            try:
                self.content.decode("utf-8")
            except UnicodeDecodeError as error:
                message = f"the text is not UTF-8: {error.reason} at byte {error.start}"
                return ItemError(UNSUPPORTED_INPUT, message, cause="not_utf8")
        return None

    @property
    def digest(self) -> str:
        """The content's digest; equal content in another modality has the same one."""
        return content_digest(self.content)


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One thing to judge: an id, at least one part, and attributes such as surface or language.

    `read_by` are the readers that were asked about its batch, each with the revision of which it spoke then, "" where it stated none.
    Raises ValueError when the id is empty or there is no part.
    """

    id: str
    parts: tuple[Part, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    read_by: frozenset[tuple[str, str]] = field(default=frozenset(), compare=False)

    @classmethod
    def missing(cls, id_: str, error: ItemError) -> ContentItem:
        """An item whose content is not there, and why: as a video that nobody read it may hold anything, and every policy errs."""
        return cls(id_, (Part(Modality.VIDEO, b"", unread=error),))

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("an item needs a non-empty id")
        if not self.parts:
            raise ValueError(f"item {self.id!r} has no parts; expected at least one image or text")


class Fetcher(Protocol):
    """Gets what a reference means: an address, or a place in a store, of the one scheme that it was made for.

    `fetch` returns the content's bytes or raises an ItemError whose cause is a stable word (`unfetchable`). It is called from several
    threads at once, must answer within the seconds of its settings, and gives no more bytes than they allow.
    """

    def fetch(self, reference: str) -> bytes:
        """The content. Messages of errors hold neither content nor the reference's query, nor addresses of an inner network."""
        ...


def unfetchable(cause: str, message: str) -> ItemError:
    """Why the content of a reference cannot be had; `cause` is a stable word."""
    return ItemError(UNFETCHABLE, message, cause=cause)
