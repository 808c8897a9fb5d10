"""Lines of text in a picture, by RapidOCR with the models of its own wheel; long pictures by windows that overlap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST_WINDOWS = 16
MOST_LINES = (
    200  # each of which takes about 0.05 s; no reader can be stopped, and one that is late fails its whole batch
)
# A picture that would have to be made smaller, and has sides of a higher ratio, is read by windows of this ratio at most. Lines run across, so that
# windows of an upright picture cut few of them, and those of a wide one many.
_UPRIGHT, _WIDE = 2.0, 6.0
_OVERLAP = 0.25  # of a window
_SURE, _WORDY = 0.9, 4  # what a line of so many characters is read with, where it stands as the models think
_MODELS = {
    "Det": "PP-OCRv6_det_small.onnx",
    "Cls": "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
    "Rec": "PP-OCRv6_rec_small.onnx",
}


class TooMuchError(Exception):
    """A picture would take too long: `cause` is `too_long`, more windows than MOST_WINDOWS, or `too_many_lines`, more than MOST_LINES."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


@dataclass(frozen=True, slots=True)
class Box:
    """A place in a picture, in pixels: left and top, and how wide and high."""

    left: int
    top: int
    width: int
    height: int

    def around(self, other: Box) -> Box:
        """The smallest box that holds both."""
        left, top = min(self.left, other.left), min(self.top, other.top)
        right = max(self.left + self.width, other.left + other.width)
        bottom = max(self.top + self.height, other.top + other.height)
        return Box(left, top, right - left, bottom - top)

    def within(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom as shares of a picture's sides, in [0, 1]."""
        right = max(1, min(width, self.left + self.width))
        bottom = max(1, min(height, self.top + self.height))
        left, top = min(max(0, self.left), right - 1), min(max(0, self.top), bottom - 1)
        return left / width, top / height, right / width, bottom / height

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it says, where, and how sure of it the recogniser is, in [0, 1]."""

    text: str
    box: Box
    confidence: float


class Engine:
    """The three models, loaded once, each on one thread. Safe to call from several threads."""

    def __init__(self, longest_side: int) -> None:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)  # of the whole process, where nobody else uses OpenCV
        self._longest = longest_side
        models = resources.files("rapidocr") / "models"
        threads = dict.fromkeys(
            ("EngineConfig.onnxruntime.intra_op_num_threads", "EngineConfig.onnxruntime.inter_op_num_threads"), 1
        )
        self._read = RapidOCR(
            params={
                # A path that is named is never downloaded to: where the wheel lacks a model, this raises.
                **{f"{step}.model_path": str(models / name) for step, name in _MODELS.items()},
                **threads,
                "Global.log_level": "critical",  # it would tell of each picture without text
                "Global.text_score": 0.0,
                "Global.max_side_len": max(2 * longest_side, 2000),  # of what lines are cut out of, to be recognised
                "Det.limit_type": "max",
                "Det.limit_side_len": longest_side,
            }
        )
        self._detect = self._read.detect_and_crop
        self._read.detect_and_crop = self._bounded

    def lines(self, picture: Image.Image) -> list[Line]:
        """All lines, in reading order. Raises TooMuchError.

        The model that tells which way up a line stands errs on some lines, which then read badly: where one does, the picture is read upside
        down too, and the way that reads more counts.
        """
        found = self._all(picture)
        if not any(line.confidence < _SURE and len(line.text) >= _WORDY for line in found):
            return found
        turned = self._all(picture.transpose(Image.Transpose.ROTATE_180))
        return max(found, [_turned(line, *picture.size) for line in turned], key=_worth)

    def _all(self, picture: Image.Image) -> list[Line]:
        found: list[Line] = []
        for window in _windows(*picture.size, self._longest):
            found += self._in_window(picture, window)
            if len(found) > MOST_LINES:
                raise TooMuchError("too_many_lines")
        return found

    def _bounded(self, *arguments: Any) -> Any:
        """The library's own step that finds lines, before any is read."""
        found = self._detect(*arguments)
        if len(found[0]) > MOST_LINES:
            raise TooMuchError("too_many_lines")
        return found

    def _in_window(self, picture: Image.Image, window: _Window) -> Iterator[Line]:
        part = picture.crop(window.edges) if window.edges != (0, 0, *picture.size) else picture
        found: Any = self._read(np.ascontiguousarray(np.asarray(part)[:, :, ::-1]))
        if found.txts is None or found.boxes is None:
            return
        for text, corners, confidence in zip(found.txts, found.boxes, found.scores, strict=True):
            line = Line(text, _box(corners, window.edges[:2]), float(confidence))
            if window.holds(line.box):
                yield line


@dataclass(frozen=True, slots=True)
class _Window:
    """What is shown of a picture, and of that along its longer side, which lines are counted here and not by a neighbour: by their middle."""

    edges: tuple[int, int, int, int]
    upright: bool
    start: float
    end: float

    def holds(self, box: Box) -> bool:
        middle = box.top + box.height / 2 if self.upright else box.left + box.width / 2
        return self.start <= middle < self.end


def _windows(width: int, height: int, longest: int) -> list[_Window]:
    upright, length = height >= width, max(width, height)
    size = max(longest, round((_UPRIGHT if upright else _WIDE) * min(width, height)))
    inf = float("inf")
    if length <= size:
        return [_Window((0, 0, width, height), upright, -inf, inf)]
    step = size - round(_OVERLAP * size)
    starts = [*range(0, length - size, step), length - size]
    if len(starts) > MOST_WINDOWS:
        raise TooMuchError("too_long")
    cuts = [-inf, *((one + size + other) / 2 for one, other in pairwise(starts)), inf]
    edges = [(0, one, width, one + size) if upright else (one, 0, one + size, height) for one in starts]
    return [_Window(edge, upright, *cut) for edge, cut in zip(edges, pairwise(cuts), strict=True)]


def _turned(line: Line, width: int, height: int) -> Line:
    """A line of a picture that was turned upside down, where it stands in the picture itself."""
    box = line.box
    return replace(line, box=Box(width - box.left - box.width, height - box.top - box.height, box.width, box.height))


def _worth(lines: list[Line]) -> float:
    return sum(len(line.text) * line.confidence for line in lines)


def _box(corners: NDArray[Any], corner: tuple[int, int]) -> Box:
    left, top = np.floor(corners.min(axis=0)).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int)
    return Box(max(int(left), 0) + corner[0], max(int(top), 0) + corner[1], int(right - left), int(bottom - top))
