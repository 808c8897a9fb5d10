"""What a new plugin is written from: of each kind a module and its tests, small, and whole as they stand."""

from __future__ import annotations

from string import Template
from typing import NamedTuple


class Kind(NamedTuple):
    """Templates over `id`, `module` and `name` (a class): the module, its tests, and what puts it to use."""

    module: Template
    tests: Template
    use: Template


_DETECTOR = Kind(
    Template('''\
"""A detector: say here what it finds. This one finds two phrases."""

import re

from moderation import DetectionBatch, Modality, Score, hookimpl

PHRASES = re.compile(r"\\b(replace this|by your own)\\b", re.IGNORECASE)


class $name:
    id = "$id"
    labels = ("$id",)
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False

    def detect(self, batch: DetectionBatch) -> list[tuple[Score, ...]]:
        found = [PHRASES.search(part.content.decode()) for part in batch.parts]
        scores = [Score("$id", 1.0, concept=hit[0].lower()) if hit else Score("$id", 0.0) for hit in found]
        return [(score,) for score in scores]


@hookimpl
def register_detectors(registry):
    registry.add($name())
'''),
    Template('''\
"""What every detector promises (moderation.testing), and what this one finds."""

from moderation_$module import $name

from moderation.testing import DetectorKit


class Test$name(DetectorKit):
    make = $name
    plugin = "$id"
    flagged = {"$id": ["Replace this example", "and this by your own"]}
    passed = ["a walk in the park", ""]
'''),
    Template("""\
A policy that counts it: `detectors: [$id]`. A process of its own for it: `plugins.isolated = ["$id"]` in the settings.
"""),
)

_READER = Kind(
    Template('''\
"""A reader: say here what it derives. This one finds the comments that are written into PNG files."""

import struct

from moderation import Modality, Part, hookimpl

SIGNATURE = b"\\x89PNG\\r\\n\\x1a\\n"


class $name:
    id = "$id"
    reads = frozenset({Modality.IMAGE})
    yields = frozenset({Modality.TEXT})

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

_ENCODER = Kind(
    Template('''\
"""An encoder: say here which model it runs. This one has none: its vectors are colours, and words by their hash."""

import hashlib

import numpy as np

from moderation import hookimpl
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.encoder.images import decode
from moderation.errors import ItemError

WIDTH = 48
CARD = {
    "schema": "encoder-card/v1",
    "name": "$id",
    "modalities": ["image", "text"],
    "width": WIDTH,
    "activation": "none",
}


class $name:
    card = EncoderCard.model_validate(CARD)
    # Into the identity goes whatever changes a vector (weights, preprocessing, tokenizer): locks and caches go by it.
    fingerprint = Fingerprint(hashlib.sha256(b"$id, version 1").hexdigest()[:16], "numpy/cpu")

    def __init__(self, limits):
        self.limits = limits

    def encode_images(self, images):
        return self._encode(images, self._colours)

    def encode_text(self, texts):
        return self._encode(texts, self._words)

    def count_tokens(self, text):
        return len(text.split()) + 1

    def _encode(self, contents, features):
        vectors, errors = np.zeros((len(contents), WIDTH), np.float16), {}
        for row, content in enumerate(contents):
            try:
                found = features(content)
                vectors[row] = found / np.linalg.norm(found)
            except ItemError as error:  # of this row alone
                errors[row] = error
        return Encoded(vectors, errors)

    def _colours(self, file):
        return 1.0 + np.asarray(decode(file, self.limits).resize((4, 4)), np.float64).ravel()

    def _words(self, text):
        places = [int(hashlib.sha256(word.encode()).hexdigest(), 16) % WIDTH for word in ("", *text.lower().split())]
        return np.bincount(places, minlength=WIDTH)


@hookimpl
def register_encoders(registry):
    registry.add("$id", lambda request: $name(request.images))
'''),
    Template('''\
"""What every encoder promises (moderation.testing)."""

from moderation_$module import $name

from moderation.settings import ImageLimits
from moderation.testing import EncoderKit


class Test$name(EncoderKit):
    make = staticmethod(lambda: $name(ImageLimits()))
    plugin = name = "$id"
'''),
    Template("""\
Settings that load it: `encoders.default.loader = "$id"`. Policies are compiled anew for it.
"""),
)

_FETCHER = Kind(
    Template('''\
"""A fetcher: say here what it gets. This one reads files below a folder: $id://shelf/name."""

import re
from pathlib import Path

from moderation import hookimpl
from moderation.item import unfetchable


class $name:
    def __init__(self, settings, folder):
        self.settings, self.folder = settings, Path(folder)

    def fetch(self, reference):
        shelf, _, name = reference.partition("?")[0].partition("://")[2].partition("/")
        if shelf not in self.settings.hosts:
            raise unfetchable("host_not_allowed", "the settings do not allow this shelf")
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
            raise unfetchable("wrong_reference", "found no plain name of a file")
        try:
            with (self.folder / shelf / name).open("rb") as file:
                content = file.read(self.settings.max_bytes + 1)
        except OSError as error:
            raise unfetchable("not_found", f"it cannot be read: {error.strerror}") from None
        if len(content) > self.settings.max_bytes:
            raise unfetchable("too_many_bytes", f"it has more than {self.settings.max_bytes} bytes")
        return content


@hookimpl
def register_fetchers(registry):
    folder = registry.settings.get("folder", ".")
    registry.add("$id", lambda request: $name(request.settings, folder))
'''),
    Template('''\
"""What every fetcher promises (moderation.testing), and what this one gets and refuses."""

import pytest
from moderation_$module import $name

from moderation.sections import FetchSettings
from moderation.testing import FetcherKit


class Test$name(FetcherKit):
    make = staticmethod(lambda: $name(FetchSettings(hosts=("box",), max_bytes=100), Test$name.folder))
    plugin = scheme = "$id"
    found = {"$id://box/a.txt": b"content"}
    refused = {
        "$id://other/a.txt": "host_not_allowed",
        "$id://box/b.txt": "not_found",
        "$id://box/../a.txt": "wrong_reference",
        "$id://box/large": "too_many_bytes",
    }

    @pytest.fixture(autouse=True)
    def _shelf(self, tmp_path):
        type(self).folder = tmp_path
        (tmp_path / "box").mkdir()
        (tmp_path / "box" / "a.txt").write_bytes(b"content")
        (tmp_path / "box" / "large").write_bytes(bytes(101))
'''),
    Template("""\
Settings with which a worker follows `{"reference": "$id://box/name"}`:

    [fetch.$id]
    hosts = ["box"]

    [plugins.settings.$id]
    folder = "/srv/shelves"
"""),
)

_SINK = Kind(
    Template('''\
"""A sink: say here to whom it brings decisions. This one keeps each as a file in a folder."""

import json
import threading
import time
from pathlib import Path

from moderation import hookimpl
from moderation.decision import Again, Delivered


class $name:
    id = "$id"

    def __init__(self, folder):
        self.folder = Path(folder)

    def setup(self):
        self.folder.mkdir(parents=True, exist_ok=True)

    def deliver(self, deliveries, seconds):
        end, receipts, waiting = time.monotonic() + 0.8 * seconds, [], set()
        for one in deliveries:
            if one.partition in waiting or time.monotonic() > end:
                receipts.append(Again("not_come_to", tried=False))
            else:
                receipts.append(self._kept(one))
            if receipts[-1] != Delivered():
                waiting.add(one.partition)  # nothing of a partition before what is to be tried again
        return receipts

    def _kept(self, one):
        # Under the decision's own id: one that comes again is the same file.
        part = self.folder / f"{one.id}.{threading.get_ident()}"
        try:
            part.write_text(json.dumps(one.decision), encoding="utf-8")
            part.replace(self.folder / f"{one.id}.json")
        except OSError:
            return Again("not_written")
        return Delivered()


@hookimpl
def register_sinks(registry):
    registry.add($name(registry.settings.get("folder", "decisions")))
'''),
    Template('''\
"""What every sink promises (moderation.testing), and what this one keeps."""

import json

import pytest
from moderation_$module import $name

from moderation.decision import Again, Delivered, Delivery
from moderation.testing import SinkKit


class Test$name(SinkKit):
    make = staticmethod(lambda: $name(Test$name.folder))
    plugin = "$id"

    @pytest.fixture(autouse=True)
    def _desk(self, tmp_path):
        type(self).folder = tmp_path


def test_a_decision_is_kept_once(tmp_path):
    sink = $name(tmp_path)
    assert list(sink.deliver([Delivery("a", {"action": "remove"})] * 2, 10.0)) == [Delivered()] * 2
    assert [json.loads(one.read_text()) for one in tmp_path.iterdir()] == [{"action": "remove"}]


def test_what_cannot_be_written_is_to_be_tried_again(tmp_path):
    sink = $name(tmp_path / "gone")
    assert sink.deliver([Delivery("a", {})], 10.0) == [Again("not_written")]
'''),
    Template("""\
Settings with which `moderation deliver` hands decisions to it:

    [deliver]
    sink = "$id"

    [plugins.settings.$id]
    folder = "/srv/decisions"
"""),
)

KINDS = {"detector": _DETECTOR, "reader": _READER, "encoder": _ENCODER, "fetcher": _FETCHER, "sink": _SINK}
