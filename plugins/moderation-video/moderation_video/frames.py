"""Which frames of a video are taken: at an interval, where the scene changes, the first one and the last.

The file is gone through twice: once without decoding, to know how long each stream is and how far its keyframes lie apart, and once
to decode. Of a long one whose keyframes lie so close that they alone keep the distance, they are all that is decoded; else everything is.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from moderation_video.container import HEAD, form_of
from moderation_video.limits import Limits
from moderation_video.picture import jpeg

MOST_STREAMS = 4
WIDEST = 8.0  # pixels are shown so many times as wide as high at most
MOST_RATE = 1000.0  # pictures a second that a camera makes; more is a made-up time base
SCENE = 0.1  # mean difference of two pictures, of 1, from which on they are two scenes
# What is decoded at all: libav knows 200 more, each a way in for hostile bytes.
CODECS = "h264,hevc,vp8,vp9,libdav1d,av1,mpeg4,mpeg2video,mpeg1video,h263,mjpeg,prores,png"

_INTERVAL_SHARE = 0.75  # of all pictures; the rest goes to changes of scene
_ROUNDING = 0.002  # seconds: a container may count in milliseconds
_SIDE = 32  # of the small pictures that are compared


class UnreadError(Exception):
    """No picture is taken of this file; `cause` is a stable word."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)


@dataclass(slots=True)
class Extent:
    """A stream's packets as the file has them: the second of each picture, and of each keyframe."""

    seconds: list[float] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)

    @property
    def first(self) -> float:
        """The second of the first picture."""
        return min(self.seconds)

    @property
    def length(self) -> float:
        """Seconds from the first picture to the last."""
        return max(self.seconds) - self.first

    def add(self, second: float, *, key: bool) -> None:
        """Count one packet."""
        self.seconds.append(second)
        if key:
            self.keys.append(second)


@dataclass(frozen=True, slots=True)
class Plan:
    """How one stream is read: `step` seconds from picture to picture, and places for `scenes` beside those; perhaps `keyframes_only`.

    `first` and `length` are those of its packets, `last_key` is the second of its last keyframe, and `gap` how long there may be no frame.
    """

    first: float
    length: float
    last_key: float
    step: float
    scenes: int
    keyframes_only: bool
    gap: float

    @classmethod
    def of(cls, extent: Extent, limits: Limits, places: int, *, keyframes: bool) -> Plan:
        """The plan for a stream that may have so many pictures; `keyframes` says whether these may be enough.

        Raises UnreadError where it has none, lasts too long, or its times cannot be.
        """
        if not extent.seconds:
            raise UnreadError("no_frames")
        length = extent.length
        if length > limits.most_seconds:
            raise UnreadError("too_long")
        if len(extent.seconds) > 10 + MOST_RATE * length:
            raise UnreadError("bad_times")
        step = max(limits.every_seconds, length / (int(places * _INTERVAL_SHARE) - 1))
        scenes = places - (int(length / step) + 1) - 1
        close = bool(extent.keys) and _longest_gap(extent.keys) <= step / 2
        only = keyframes and close and length > limits.in_full_seconds
        gap = step / 2 if only else _longest_gap(extent.seconds) + step / 2
        return cls(extent.first, length, max(extent.keys, default=0.0), step, scenes, only, gap)


class SparseError(Exception):
    """The decoder left out so much that the distance of pictures is not kept."""


@dataclass(slots=True)
class Chosen:
    """The pictures of one stream so far. `add` is shown every frame that is decoded, in order; `pictures` are those that are taken.

    `ratio` is how much wider than high a pixel is shown.
    """

    plan: Plan
    side: int
    ratio: float
    frames: int = 0
    gap: float = 0.0  # so far, the longest without a frame
    instants: int = 0  # of the interval's, how many have their picture
    taken: dict[int, tuple[float, bytes]] = field(default_factory=dict)  # by the number of the frame
    scenes: list[tuple[float, int, float, bytes]] = field(default_factory=list)
    latest: tuple[float, VideoFrame] | None = None
    seen: NDArray[np.int16] | None = None

    def add(self, second: float, frame: VideoFrame) -> None:
        """Take it, if it is the first one at or after an instant of the interval, or keep it as a change of scene as long as there are no greater ones."""
        self.gap = max(self.gap, second - (self.latest[0] if self.latest else 0.0))
        self.latest, self.frames = (second, frame), self.frames + 1
        small = _small(frame)
        change = 1.0 if self.seen is None else float(np.abs(small - self.seen).mean()) / 255
        if second >= self.instants * self.plan.step:
            self.instants = int(second / self.plan.step) + 1
            self.taken[self.frames] = second, self._jpeg(frame)
        elif change < SCENE:
            return
        elif len(self.scenes) < self.plan.scenes:
            heapq.heappush(self.scenes, (change, self.frames, second, self._jpeg(frame)))
        elif self.scenes and change > self.scenes[0][0]:
            heapq.heapreplace(self.scenes, (change, self.frames, second, self._jpeg(frame)))
        self.seen = small

    def pictures(self) -> list[tuple[float, bytes]]:
        """All of them in order, the last frame among them. Raises UnreadError where there was none, SparseError where there were too few."""
        if self.latest is None:
            raise UnreadError("no_frames")
        second, frame = self.latest
        if max(self.gap, self.plan.length - second) > self.plan.gap + _ROUNDING:
            raise SparseError
        changes = {number: (at, picture) for _, number, at, picture in self.scenes}
        kept = changes | self.taken
        if self.frames not in kept:
            kept[self.frames] = second, self._jpeg(frame)
        return [kept[number] for number in sorted(kept)]

    def _jpeg(self, frame: VideoFrame) -> bytes:
        return jpeg(frame, longest_side=self.side, ratio=self.ratio)


def take(file: BinaryIO, limits: Limits) -> list[tuple[str, bytes]]:
    """Names and JPEG files, those of the first stream before those of the second. Raises UnreadError, and what libav raises.

    Where a decoder finds fewer keyframes than the file promised, everything is decoded.
    """
    with _opened(file) as video:
        streams = _streams(video, limits)
        extents = [Extent() for _ in streams]
        for index, second, key in _packets(video, streams):
            extents[index].add(second, key=key)
    for keyframes in (True, False):
        plans = [Plan.of(one, limits, limits.most_frames // len(extents), keyframes=keyframes) for one in extents]
        try:
            return list(_named(_decoded(file, limits, plans)))
        except SparseError:
            continue
    raise UnreadError("damaged")


def _decoded(file: BinaryIO, limits: Limits, plans: Sequence[Plan]) -> list[Chosen]:
    with _opened(file) as video:
        streams = _streams(video, limits)
        chosen = [
            Chosen(plan, limits.longest_side, _ratio(stream)) for plan, stream in zip(plans, streams, strict=True)
        ]
        for index, second, frame in _frames(video, streams, plans):
            chosen[index].add(second, frame)
    return chosen


def _named(chosen: Sequence[Chosen]) -> Iterator[tuple[str, bytes]]:
    """By second, and by stream where it is not the first; frames of one second have a number, too."""
    names: Counter[str] = Counter()
    for number, one in enumerate(chosen):
        for second, picture in one.pictures():
            name = f"stream-{number}:t={second:.3f}" if number else f"t={second:.3f}"
            names[name] += 1
            yield (f"{name}-{names[name]}" if names[name] > 1 else name), picture


@contextmanager
def _opened(file: BinaryIO) -> Iterator[InputContainer]:
    file.seek(0)
    form = form_of(file.read(HEAD))
    file.seek(0)
    options = {
        "codec_whitelist": CODECS,
        "protocol_whitelist": "none",
        "ignore_editlist": "1",  # what it cuts out a player may show
    }
    with av.open(file, format=form, options=options) as video:
        yield video


def _streams(video: InputContainer, limits: Limits) -> Sequence[VideoStream]:
    """Every stream of pictures, a cover among them: which one a player shows nobody knows."""
    streams = video.streams.video
    if not streams:
        raise UnreadError("no_video_stream")
    if len(streams) > MOST_STREAMS:
        raise UnreadError("too_many_streams")
    for stream in streams:
        context = stream.codec_context
        if context is None or context.codec.name not in CODECS.split(","):
            raise UnreadError("unknown_codec")
        if context.width * context.height > limits.most_pixels:
            raise UnreadError("too_many_pixels")
        context.thread_count = 1
        # Checked by libav itself whenever the size changes, before it allocates; what it knows that it cannot decode is an error, no guess.
        context.options = {"max_pixels": str(limits.most_pixels), "err_detect": "explode"}
    return streams


def _packets(video: InputContainer, streams: Sequence[VideoStream]) -> Iterator[tuple[int, float, bool]]:
    """Of each packet that is shown the place of its stream, its second, and whether a keyframe is in it."""
    places = {stream.index: place for place, stream in enumerate(streams)}
    for packet in video.demux(*streams):
        if packet.size and not packet.is_discard:
            if packet.is_corrupt:
                raise UnreadError("damaged")
            yield places[packet.stream.index], _second(packet, packet.time_base), packet.is_keyframe


def _frames(
    video: InputContainer, streams: Sequence[VideoStream], plans: Sequence[Plan]
) -> Iterator[tuple[int, float, VideoFrame]]:
    """Of each frame that is decoded the place of its stream, its second from that stream's first frame on, and the frame."""
    places = {stream.index: place for place, stream in enumerate(streams)}
    for stream, plan in zip(streams, plans, strict=True):
        stream.codec_context.skip_frame = "NONKEY" if plan.keyframes_only else "DEFAULT"
    for packet in video.demux(*streams):
        place = places[packet.stream.index]  # its own stream_index is 0 where it only flushes
        if packet.is_keyframe and _is_last_key(packet, plans[place]):
            streams[place].codec_context.skip_frame = "DEFAULT"  # from here on everything, up to the last frame
        for frame in packet.decode():
            if frame.is_corrupt:
                raise UnreadError("damaged")
            yield place, max(0.0, _second(frame, frame.time_base) - plans[place].first), frame


def _is_last_key(packet: av.Packet, plan: Plan) -> bool:
    return bool(packet.size) and _second(packet, packet.time_base) >= plan.last_key


def _longest_gap(seconds: Sequence[float]) -> float:
    return float(np.diff(np.sort(seconds)).max(initial=0.0))


def _ratio(stream: VideoStream) -> float:
    """Of a pixel's sides as it is shown; one that cannot be is none."""
    ratio = float(stream.sample_aspect_ratio or 1)
    return ratio if 1 / WIDEST <= ratio <= WIDEST else 1.0


def _second(one: av.Packet | VideoFrame, time_base: object) -> float:
    at = one.dts if one.pts is None else one.pts
    if at is None or not time_base:
        raise UnreadError("bad_times")
    return float(at * time_base)


def _small(frame: VideoFrame) -> NDArray[np.int16]:
    return frame.reformat(_SIDE, _SIDE, "rgb24", interpolation="FAST_BILINEAR").to_ndarray().astype(np.int16)
