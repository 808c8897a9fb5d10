"""The reader: each picture's text as parts that are short enough for a text encoder, each named by its place."""

from __future__ import annotations

import hashlib
import logging
import textwrap
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

from moderation import Abstention, Modality, Part
from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.item import UNSUPPORTED_INPUT
from moderation.reader.base import Reading
from moderation.settings import ImageLimits
from moderation_ocr.engine import Box, Engine, Line, TooMuchError
from moderation_ocr.section import Section

_log = logging.getLogger(__name__)

LIMITS = ImageLimits()
LATE = Abstention("out_of_time")
SHORT, SURE = (
    3,
    0.9,
)  # a line of fewer characters, which shapes in a drawing look like, must be read with this confidence


class Ocr:
    """Reads the lines of a picture, those that it is sure enough of, and joins them in reading order."""

    id = "ocr"
    reads = frozenset({Modality.IMAGE})
    yields = frozenset({Modality.TEXT})

    def __init__(self, section: Section) -> None:
        self._section = section
        told = section.model_dump_json(exclude={"seconds"})  # what changes what is read
        self.revision = f"{version('rapidocr')}+{hashlib.sha256(told.encode()).hexdigest()[:8]}"
        self._engine: Engine | None = None

    def setup(self) -> None:
        """Load the models."""
        self._engine = Engine(self._section.longest_side)

    def verify(self) -> None:
        """Read a word that is drawn here."""
        from PIL import Image, ImageDraw, ImageFont

        picture = Image.new("RGB", (200, 64), "white")
        ImageDraw.Draw(picture).text((20, 10), "reading", font=ImageFont.load_default(32), fill="black")
        assert self._engine is not None, "setup comes first"
        said = [line.text for line in self._engine.lines(picture)]
        assert said == ["reading"], "it does not read a plain word"

    def close(self) -> None:
        """Let the models go."""
        self._engine = None

    def read(self, parts: tuple[Part, ...]) -> list[Reading]:
        """The text of each picture. Those for which the batch's seconds do not suffice are abstained from, and no other; the log says what to do."""
        end = time.monotonic() + self._section.seconds
        readings: list[Reading] = []
        longest = 0.0
        for part in parts:
            begun = time.monotonic()
            if readings and begun + longest > end:
                readings.append(LATE)
                continue
            readings.append(self._reading(part))
            longest = max(longest, time.monotonic() - begun)
        if late := readings.count(LATE):
            _log.warning(
                "%d of %d pictures were not read within %g s, so that policies on texts err for them: raise plugins.settings.ocr.seconds, and "
                "readers.timeout_seconds above it; or show fewer (plugins.settings.video.most_frames), or smaller (plugins.settings.ocr.longest_side)",
                late,
                len(parts),
                self._section.seconds,
            )
        return readings

    def _reading(self, part: Part) -> Reading:
        assert self._engine is not None, "setup comes first"
        try:
            picture = decode(part.content, LIMITS)
            lines = self._engine.lines(picture)
        except ItemError as error:
            return Abstention(error.reason, cause=error.cause)
        except TooMuchError as error:
            return Abstention(UNSUPPORTED_INPUT, cause=error.cause)
        except Exception as error:  # noqa: BLE001 - OpenCV and ONNX Runtime raise many; it is this picture's fault and no other's
            return Abstention("not_read", cause=type(error).__name__)
        sure = [line for line in lines if line.confidence >= self._least(line)]
        return [
            Part(Modality.TEXT, text.encode(), name=f"ocr@{box}", region=box.within(*picture.size))
            for text, box in joined(sure, self._section.characters)
        ]

    def _least(self, line: Line) -> float:
        return max(self._section.confidence, SURE if len(line.text.strip()) < SHORT else 0.0)


def joined(lines: Iterable[Line], characters: int) -> Iterator[tuple[str, Box]]:
    """Texts of at most so many characters, of as many lines as fit, each with the box around its lines; a line that is longer is cut at a space."""
    text, box = "", None
    for line in lines:
        for piece in textwrap.wrap(line.text, characters) or []:
            if text and len(text) + 1 + len(piece) > characters and box:
                yield text, box
                text, box = "", None
            text = f"{text}\n{piece}" if text else piece
            box = box.around(line.box) if box else line.box
    if text and box:
        yield text, box
