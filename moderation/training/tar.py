"""Where the members of a tar archive lie: one walk over its headers that reads no content and survives any damage.

The standard library's tarfile stops at the first bad header in silence and reads a damaged length on trust, so the walk is ours:
ustar, GNU long names and pax (POSIX.1-2001, `ustar` and `pax` interchange formats). Concatenated archives are read to the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512
_ZEROS = bytes(BLOCK)
_REGULAR = b"0\x007"
_WITHOUT_CONTENT = b"123456"  # links, devices, folders, pipes: their length field means nothing
_GNU_NAME, _PAX = b"L", b"x"
_LONGEST_EXTENSION = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive; `offset` and `size` are its content's, in bytes, and may reach past the archive's end."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Damage:
    """From byte `offset` on there was no valid header until the next member, or no end mark at the end."""

    offset: int


def walk(file: int) -> Iterator[Member | Damage]:
    """The regular files of the archive open at descriptor `file`, in order, with every damaged stretch between them."""
    length = os.fstat(file).st_size
    at, whole, ended = 0, True, False
    said: dict[str, str] = {}  # what extension headers say of the member that follows
    while at + BLOCK <= length:
        block = os.pread(file, BLOCK, at)
        at += BLOCK
        ended = block == _ZEROS
        if ended:
            continue
        header = _header(block)
        if header is None:
            if whole:
                yield Damage(at - BLOCK)
            whole, said = False, {}
            continue
        whole = True
        kind, name, size = header
        size = int(said["size"]) if said.get("size", "").isdecimal() else size
        content, at = at, at + (size + BLOCK - 1) // BLOCK * BLOCK
        if kind in (_GNU_NAME, _PAX):
            said |= _extension(kind, os.pread(file, min(size, _LONGEST_EXTENSION), content))
            continue
        name = said.get("path", name)
        if kind in _REGULAR and not name.endswith("/") and not any(key.startswith("GNU.sparse") for key in said):
            yield Member(name, content, size)
        said = said if kind in b"Kg" else {}
    if whole and not ended:
        yield Damage(min(at, length))


def _header(block: bytes) -> tuple[bytes, str, int] | None:
    """(kind, name, content's size) where the block's checksum holds."""
    checksum, size = _number(block[148:156]), _number(block[124:136])
    if checksum is None or checksum != sum(block) - sum(block[148:156]) + 8 * ord(" "):
        return None
    kind = block[156:157]
    if kind in _WITHOUT_CONTENT:
        size = 0
    if size is None or size < 0:
        return None
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return kind, f"{prefix}/{name}" if prefix else name, size


def _number(field: bytes) -> int | None:
    """An octal number, or GNU's binary one, which is marked by the first bit."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:])
    digits = field.split(b"\0")[0].strip()
    try:
        return int(digits or b"0", 8)
    except ValueError:
        return None


def _extension(kind: bytes, content: bytes) -> dict[str, str]:
    if kind == _GNU_NAME:
        return {"path": _text(content)}
    found: dict[str, str] = {}
    while content:  # records of "length name=value\n", the length counting itself
        digits = content.partition(b" ")[0]
        size = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        if not len(digits) < size <= len(content):
            break
        name, _, value = content[len(digits) + 1 : size - 1].partition(b"=")
        found[_text(name)] = value.decode("utf-8", "surrogateescape")
        content = content[size:]
    return found


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "surrogateescape")
