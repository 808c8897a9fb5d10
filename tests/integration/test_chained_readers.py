"""Words in a video's frames, and what is small in them: the true readers of videos, text and tiles, one behind the other."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import av
import numpy as np
import pytest
from moderation_ocr.reader import Ocr
from moderation_ocr.section import Section
from moderation_video.reader import Frames
from PIL import Image, ImageDraw, ImageFont

from moderation.detector.life import set_up
from moderation.item import Modality, Part
from moderation.plugin_sections import ReaderSettings, TileSettings
from moderation.reader.step import Readers
from moderation.reader.tiles import Tiles
from moderation.settings import ImageLimits
from tests.fakes import item

WORDS = "Claim your free casino bonus"
SIZE = (480, 240)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    ocr = Ocr(Section())
    set_up(ocr)
    yield Readers([Tiles(TileSettings(), ImageLimits()), ocr, Frames()], ReaderSettings(timeout_seconds=120.0))
    ocr.close()


def film(*scenes: str) -> bytes:
    """A second of each scene, its words on white."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=5, options={"g": "5", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for words in scenes:
            picture = Image.new("RGB", SIZE, "white")
            ImageDraw.Draw(picture).text((40, 100), words, font=ImageFont.load_default(28), fill="black")
            for _ in range(5):
                made.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        made.mux(stream.encode())
    return file.getvalue()


def test_words_in_a_frame_are_read_and_the_frame_is_cut_into_tiles(readers: Readers) -> None:
    (found,) = readers.read([item(Part.video(film("", WORDS), name="clip"))])
    assert not [one for one in found.parts if one.unread]
    texts = [one for one in found.parts if one.modality is Modality.TEXT]
    assert {(one.content.decode(), one.reader) for one in texts} == {(WORDS, "video/ocr")}
    for one in texts:
        second = float(one.source.removeprefix("clip#t="))
        assert second >= 1.0  # the first scene says nothing
        assert one.name.startswith(f"{one.source}#ocr@")
        assert one.region
        assert 0.05 < one.region[0] < 0.15  # within that frame
    counts = Counter(one.reader for one in found.parts)
    assert set(counts) == {"video", "video/tiles", "video/ocr"}
    tiled = Counter(one.source for one in found.parts if one.reader == "video/tiles")
    assert set(tiled) == {one.name for one in found.parts if one.reader == "video"}
    assert set(tiled.values()) == {counts["video/tiles"] // counts["video"]}


def test_a_file_that_is_no_video_leaves_no_words_out_in_silence(readers: Readers) -> None:
    (found,) = readers.read([item(Part.video(film(WORDS)[:300], name="clip"))])
    assert {one.modality for one in found.parts if one.unread} == {Modality.IMAGE, Modality.TEXT}
