"""Videos of coloured scenes, made with PyAV."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

RED, GREEN, BLUE, GREY, WHITE = (220, 20, 20), (20, 200, 20), (20, 20, 220), (128, 128, 128), (240, 240, 240)
Picture = NDArray[np.uint8]
Scenes = Sequence[tuple[tuple[int, int, int] | Picture, float]]

av.logging.set_level(av.logging.PANIC)


def plain(colour: tuple[int, int, int], width: int = 96, height: int = 64) -> Picture:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def film(
    scenes: Scenes,
    *,
    form: str = "mp4",
    codec: str = "libx264",
    rate: int = 10,
    keyframes: int = 250,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (96, 64),
    prepare: Callable[[av.VideoStream], None] = lambda _: None,
    **options: str,
) -> bytes:
    """A file of these scenes, each a colour or a picture and its seconds."""
    file = io.BytesIO()
    if codec == "libx264":
        options = {"preset": "ultrafast", "sc_threshold": "0", **options}
    with av.open(file, "w", format=form) as made:
        stream = made.add_stream(codec, rate=rate, options={"g": str(keyframes), **options})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        prepare(stream)
        for frame in [*_frames(scenes, rate, size), None]:
            made.mux(stream.encode(frame))
    return file.getvalue()


def _frames(scenes: Scenes, rate: int, size: tuple[int, int]) -> Iterator[av.VideoFrame]:
    for shown, seconds in scenes:
        picture = plain(shown, *size) if isinstance(shown, tuple) else shown
        for _ in range(round(seconds * rate)):
            yield av.VideoFrame.from_ndarray(picture, format="rgb24")


def sound() -> bytes:
    """A file with a tone and no picture."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        stream = made.add_stream("aac", rate=16000, layout="mono")
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, number * 1024, Fraction(1, 16000)
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
    return file.getvalue()
