"""What is taken of a video, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """`every_seconds` is the distance of the pictures that are taken and `most_frames` how many there may be, from all streams of a file.

    A stream of at most `in_full_seconds` is decoded in full, however close its keyframes are.

    `longest_side` is what a picture is scaled down to; a video may have so many pixels in a frame and last so many seconds; the process that decodes it has so
    many seconds of one processor, and so many bytes of address space.
    """

    every_seconds: float = 1.0
    most_frames: int = 64
    in_full_seconds: float = 60.0
    longest_side: int = 1024
    most_pixels: int = 8_912_896  # 4096 by 2176
    most_seconds: float = 600.0
    processor_seconds: int = 20
    memory_bytes: int = 2_000_000_000

    @staticmethod
    def least(name: str) -> float:
        """The smallest value that makes sense."""
        return {
            "most_frames": 16,
            "longest_side": 32,
            "every_seconds": 0.01,
            "in_full_seconds": 0,
            "memory_bytes": 500_000_000,
        }.get(name, 1)
