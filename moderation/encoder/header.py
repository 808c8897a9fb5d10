"""What a picture file says about itself, read without any decoder: format, size in pixels, which way is up.

The four formats are recognised by their own bytes, never by a file name, and nothing is allocated on a header's word.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Literal

from moderation.errors import ItemError

Format = Literal["JPEG", "PNG", "WEBP", "GIF"]

_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A marker that is no fill byte, no byte stuffed into a scan and no restart inside one.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_ORIENTATION_TAG, _SHORT = 0x0112, 3
# A progressive JPEG passes over the whole picture once per scan; encoders write about ten, an attack writes thousands.
_MAX_JPEG_SCANS = 100


@dataclass(frozen=True, slots=True)
class Header:
    """A picture's format and size in pixels, as its file claims them."""

    format: Format
    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Pixels of one frame."""
        return self.width * self.height


def read_header(content: bytes) -> Header:
    """The header of a JPEG, PNG, WebP or GIF file; raises ItemError for anything else."""
    if not content:
        raise unsupported("the file is empty", cause="empty")
    readers = {b"\xff\xd8\xff": _jpeg, b"\x89PNG\r\n\x1a\n": _png, b"GIF87a": _gif, b"GIF89a": _gif, b"RIFF": _webp}
    for magic, read in readers.items():
        if content.startswith(magic):
            try:
                header = read(content)
            except (struct.error, IndexError):
                raise unsupported(
                    f"the header of this {read.__name__[1:].upper()} file is cut off", cause="truncated"
                ) from None
            if header.width < 1 or header.height < 1:
                raise unsupported(f"the {header.format} header says {header.width}x{header.height} pixels")
            return header
    raise unsupported(
        f"not a JPEG, PNG, WebP or GIF file; it begins with {content[:8].hex(' ')}", cause="not_a_picture"
    )


def unsupported(message: str, *, cause: str = "damaged") -> ItemError:
    """The one reason every picture that cannot be read gets, and a word for the cause.

    It is empty, not_a_picture, truncated, damaged, too_many_bytes or too_many_pixels.
    """
    return ItemError("unsupported_input", message, cause=cause)


def is_cut_off(content: bytes, kind: Format) -> bool:
    """Whether a file ends before its own end mark; a GIF's decoder says so itself."""
    if kind == "WEBP":
        return len(content) < 8 + int.from_bytes(content[4:8], "little")
    if kind == "PNG":
        return b"IEND" not in content
    # A JPEG's preview in its EXIF block has an end of its own: only one behind the last scan's start counts.
    return kind == "JPEG" and content.find(b"\xff\xd9", max(0, content.rfind(b"\xff\xda"))) < 0


def orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, in an EXIF block; 1 where there is none or it cannot be read, as browsers do."""
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, directory)
        for entry in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, directory + 2 + 12 * entry)
            if (tag, kind) == (_ORIENTATION_TAG, _SHORT):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def without_animation(content: bytes) -> bytes:
    """A PNG without its animation chunks: the still picture that every viewer can show."""
    kept, at = [content[:8]], 8
    while at + 8 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] not in (b"acTL", b"fcTL", b"fdAT"):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _png(content: bytes) -> Header:
    if content[12:16] != b"IHDR":
        raise unsupported("a PNG file must begin with an IHDR chunk")
    return Header("PNG", *struct.unpack_from(">II", content, 16))


def _jpeg(content: bytes) -> Header:
    if _count_scans(content) > _MAX_JPEG_SCANS:
        raise unsupported(f"the JPEG has more than {_MAX_JPEG_SCANS} scans")
    at = 2
    while True:
        if content[at] != 0xFF:
            raise unsupported("a JPEG marker is missing before the picture's size")
        while content[at] == 0xFF:
            at += 1
        marker = content[at]
        at += 1
        if marker in _JPEG_SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", content, at + 3)
            return Header("JPEG", width, height)
        if marker in (0xD9, 0xDA):
            raise unsupported("the JPEG holds no size before its first scan")
        if marker not in _JPEG_BARE_MARKERS:
            at += max(2, struct.unpack_from(">H", content, at)[0])


def _count_scans(content: bytes) -> int:
    """Scans up to the end of the picture: what a phone puts behind it (a film, a second picture) is nobody's scan."""
    scans, at = 0, 2
    while scans <= _MAX_JPEG_SCANS and (found := _JPEG_MARKER.search(content, at)):
        marker = content[found.end() - 1]
        if marker == 0xD9:
            break
        scans += marker == 0xDA
        at = found.end()
        if marker not in _JPEG_BARE_MARKERS:
            at += int.from_bytes(content[at : at + 2])
    return scans


def _gif(content: bytes) -> Header:
    """The larger of the screen and the first frame: a frame may reach beyond the screen, and is then decoded whole."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + _colour_table(flags)
    while content[at] == 0x21:  # extensions: a label, then blocks until an empty one
        at = _after_blocks(content, at + 2)
    if content[at] != 0x2C:
        raise unsupported("the GIF holds no frame")
    left, top, frame_width, frame_height = struct.unpack_from("<HHHH", content, at + 1)
    return Header("GIF", max(width, left + frame_width), max(height, top + frame_height))


def _colour_table(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(content: bytes, at: int) -> int:
    while content[at]:
        at += 1 + content[at]
    return at + 1


def _webp(content: bytes) -> Header:
    if content[8:12] != b"WEBP":
        raise unsupported("a RIFF file, but not WebP", cause="not_a_picture")
    (chunk,) = struct.unpack_from("4s", content, 12)
    if chunk == b"VP8X":
        width, height = int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    elif chunk == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    else:
        raise unsupported(f"a WebP file cannot begin with a {chunk!r} chunk")
    return Header("WEBP", width, height)
