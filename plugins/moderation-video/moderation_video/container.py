"""What a video's file is, by its first bytes. What libav would guess might be a play list, and it would open the files that one names."""

from __future__ import annotations

HEAD = 16  # bytes

_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
)  # a QuickTime or MP4 file begins with one


def form_of(head: bytes) -> str:
    """The name that libav has for the form of a file that begins so; "" where it is none of those that are read."""
    if head[4:8] in _BOXES:
        return "mov"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    return "avi" if head.startswith(b"RIFF") and head[8:12] == b"AVI " else ""
