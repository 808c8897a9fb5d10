"""What a reader that has a process of its own says of a batch, as bytes: nothing that is read here can run code.

One frame: four bytes of its length, then four of the JSON's, the JSON, and the contents of what was derived, one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any

from moderation.decision import Abstention
from moderation.detector.faults import WRONG
from moderation.detector.wire import LENGTH, Limits, abstention, load_answer, plain_abstention
from moderation.item import UNSUPPORTED_INPUT, Modality, Part
from moderation.reader.base import Reading

MOST_FRAME_BYTES = (1 << 32) - 1  # a length has four bytes
_TOLD_BYTES, _ABSTAINED_BYTES = 512, 4096  # of JSON: of what is derived, each; of what was shown, each


def most_bytes(parts: int, limits: Limits) -> int:
    """The size of the longest frame on so many parts that is read, within these limits: so much a reader can make its parent hold."""
    of_one, of_all = limits[1:]
    return min(min(parts * of_one, max(of_one, of_all)) + most_told(parts, limits), MOST_FRAME_BYTES)


def most_told(parts: int, limits: Limits) -> int:
    """The same of its JSON, which takes many times its size once it is read."""
    return parts * (limits[0] * _TOLD_BYTES + _ABSTAINED_BYTES) + (1 << 16)


def encode_readings(readings: Sequence[Reading], limits: Limits, revision: str = "") -> Iterator[bytes]:
    """A frame of checked readings, one for each part, and the revision of who read, in pieces; what the longest frame has no room for is `too_many_batch_bytes`."""
    left = most_bytes(len(readings), limits) - most_told(len(readings), limits)
    told: list[object] = []
    contents: list[bytes] = []
    for one in readings:
        size = 0 if isinstance(one, Abstention) else sum(len(part.content) for part in one)
        if size > left:
            told.append(plain_abstention(Abstention(UNSUPPORTED_INPUT, cause="too_many_batch_bytes")))
        elif isinstance(one, Abstention):
            told.append(plain_abstention(one))
        else:
            left -= size
            told.append([[part.modality.value, len(part.content), part.name, part.region] for part in one])
            contents += [part.content for part in one]
    head = json.dumps({"readings": told, "revision": revision}).encode()
    yield LENGTH.pack(LENGTH.size + len(head) + sum(map(len, contents))) + LENGTH.pack(len(head)) + head
    yield from contents


def encode_raised_reading(raised: bytes) -> bytes:
    """The same of a frame (`detector.wire`) that says what was raised."""
    return LENGTH.pack(len(raised)) + raised


def decode_readings(data: bytes | bytearray, most: int) -> tuple[Sequence[Reading], str]:
    """What a frame, whose JSON has `most` bytes at most, says of each part, WRONG where that is no reading, and the revision; unchecked beyond that.

    Raises FaultError where it says that the reader raised, ValueError where it says neither.
    """
    if len(data) < LENGTH.size or LENGTH.unpack_from(data)[0] > most:
        raise ValueError(f"found a frame without a length, or with one of more than {most} bytes")
    start = LENGTH.size + LENGTH.unpack_from(data)[0]
    told = load_answer(data[LENGTH.size : start])
    readings, revision = told.get("readings"), told.get("revision")
    if not isinstance(readings, list) or not isinstance(revision, str):
        raise ValueError("found no readings")  # noqa: TRY004 - of a stranger's words a wrong type is a wrong value
    try:
        sizes = [part[1] for one in readings if isinstance(one, list) for part in one]
        ends = list(accumulate(sizes, initial=start))
        if any(type(size) is not int or size < 0 for size in sizes) or ends[-1] != len(data):
            raise ValueError("found other contents than it tells of")
    except (TypeError, LookupError):
        raise ValueError("found readings that are none") from None
    held = memoryview(data)
    contents = (held[begin:end].tobytes() for begin, end in pairwise(ends))
    return [_reading(one, contents) for one in readings], revision


def _reading(told: Any, contents: Iterator[bytes]) -> Reading:
    if not isinstance(told, list):
        return abstention(told)
    held = [next(contents) for _ in told]  # taken whatever it says, or the next one would get them
    try:
        return [
            Part(Modality(modality), content, name, region=region if region is None else tuple(region))
            for (modality, _, name, region), content in zip(told, held, strict=True)
        ]
    except (TypeError, ValueError):
        return WRONG
