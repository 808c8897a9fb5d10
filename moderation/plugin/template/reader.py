"""A new plugin with a reader: small, and whole as it stands."""

from __future__ import annotations

from string import Template

from moderation.plugin.template.kind import Kind

READER = Kind(
    Template('''\
"""A reader: say here what it derives. This one finds the comments that are written into PNG files."""

import struct

from moderation import Modality, Part, hookimpl

SIGNATURE = b"\\x89PNG\\r\\n\\x1a\\n"


class $name:
    id = "$id"
    reads = frozenset({Modality.IMAGE})
    yields = frozenset({Modality.TEXT})
    revision = "1"  # change it with all that changes what is derived: locks keep to it

    def read(self, parts: tuple[Part, ...]) -> list[list[Part]]:
        found = [comments(part.content) for part in parts]
        return [[Part.text(text, name=f"comment-{n}") for n, text in enumerate(texts) if text] for texts in found]


def comments(file):
    """The texts in a PNG's chunks for texts, as far as the file goes; none at all where it is no PNG."""
    at = len(SIGNATURE) if file.startswith(SIGNATURE) else len(file)
    while at + 8 <= len(file):
        size, kind = struct.unpack_from(">I4s", file, at)
        if kind == b"tEXt":
            yield file[at + 8 : at + 8 + size].partition(b"\\0")[2].decode("latin-1")
        at += size + 12


@hookimpl
def register_readers(registry):
    registry.add($name())
'''),
    Template('''\
"""What every reader promises (moderation.testing), and what this one derives."""

import io

from moderation_$module import $name
from PIL import Image, PngImagePlugin

from moderation.testing import ReaderKit


def png(*comments):
    told, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for comment in comments:
        told.add_text("Comment", comment)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=told)
    return file.getvalue()


class Test$name(ReaderKit):
    make = $name
    plugin = "$id"
    holding = [png("free spins"), png("one", "two")]
    empty = [png(), b"no picture at all"]
'''),
    Template("""\
Settings that put it in force: `readers.use = ["$id"]`.
"""),
)
