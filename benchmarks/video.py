"""Video: how many seconds of it a reader goes through in one second of one core, decoded in full and by keyframes, and what the reader's process costs.

The videos are made here: large soft shapes that move, with a cut every three seconds, H.264 as x264 makes it at its preset `veryfast`, 30 frames a second, a keyframe
every two seconds. Real ones with more detail in motion take longer. Needs PyAV (plugins/moderation-video).
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageFilter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "moderation-video"))

from moderation_video.frames import take
from moderation_video.limits import Limits
from moderation_video.reader import Frames

from moderation.item import Part

RATE = 30
SIZES = {"1080p": (1920, 1080), "720p": (1280, 720), "480p": (854, 480)}


def _video(width: int, height: int, seconds: int) -> bytes:
    blocks = np.random.default_rng(0).integers(0, 255, (height // 8 + 1, width // 8 + 102, 3), dtype=np.uint8)
    soft = Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).filter(ImageFilter.GaussianBlur(4))
    ground = np.asarray(soft)[:height]
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        stream = made.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "g": str(2 * RATE)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(seconds * RATE):
            left = number * 3 % 800
            shown = ground[:, left : left + width] ^ (255 * (number // (3 * RATE) % 2))
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")))
        made.mux(stream.encode())
    return file.getvalue()


def _rates(width: int, height: int, seconds: int, rounds: int) -> dict[str, dict[str, Any]]:
    content = _video(width, height, seconds)
    ways = {"in full": Limits(in_full_seconds=seconds), "by keyframes": Limits(in_full_seconds=0, every_seconds=4.5)}
    return {way: _rate(content, seconds, limits, rounds) for way, limits in ways.items()}


def _rate(content: bytes, seconds: int, limits: Limits, rounds: int) -> dict[str, Any]:
    """Seconds of video in a second of the processor, the median of the rounds, and how many pictures were taken."""
    spent, taken = [], 0
    for _ in range(rounds):
        began = time.process_time()
        taken = len(take(io.BytesIO(content), limits))
        spent.append(time.process_time() - began)
    return {"video_seconds": round(seconds / statistics.median(spent), 1), "pictures": taken}


def _start(rounds: int) -> float:
    """Milliseconds that the reader takes for a video of one second."""
    tiny, spent = Part.video(_video(96, 64, 1)), []
    for _ in range(rounds):
        began = time.perf_counter()
        Frames().read((tiny,))
        spent.append(time.perf_counter() - began)
    return round(1000 * statistics.median(spent), 1)


def main() -> None:
    """Every size, both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=90, help="of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rates = {size: _rates(*SIZES[size], arguments.seconds, arguments.rounds) for size in arguments.sizes}
    start = _start(arguments.rounds)
    if arguments.json:
        print(json.dumps({"seconds": arguments.seconds, "rates": rates, "start_ms": start}))
        return
    for size, ways in rates.items():
        for way, rate in ways.items():
            told = f"{rate['video_seconds']} s of video in a second of one core, {rate['pictures']} pictures"
            print(f"{size} {way}: {told}")
    print(f"a video of one second, its process and all: {start} ms")


if __name__ == "__main__":
    main()
