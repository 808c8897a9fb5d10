"""The reader: each video is decoded in a process of its own, which is bounded, and ended when it is late."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import BinaryIO

from moderation.decision import Abstention
from moderation.detector.faults import READER_ERROR, READER_TIMEOUT
from moderation.item import UNSUPPORTED_INPUT, Modality, Part
from moderation_video.container import HEAD, form_of
from moderation_video.limits import Limits

_COMMAND = (sys.executable, "-P", "-m", "moderation_video.child")  # -P: nothing of the folder it is started in is run
_SECRETS = "MODERATION_"
_NO_VIDEO = b"\0\0\0\x08ftyp"


class Frames:
    """Frames of videos as JPEG files, named by their second: `t=3.500`.

    So many `processes` decode at once; `timeout_seconds` is for a batch, less than the reader itself is given (`readers.timeout_seconds`), and what is not done by then is left unread.
    """

    id = "video"
    reads = frozenset({Modality.VIDEO})
    yields = frozenset({Modality.IMAGE})

    def __init__(self, limits: Limits | None = None, *, timeout_seconds: float = 25.0, processes: int = 2) -> None:
        self.limits, self._timeout_seconds, self._processes = limits or Limits(), timeout_seconds, processes
        self.revision = f"{version('av')}+{hashlib.sha256(repr(self.limits).encode()).hexdigest()[:8]}"

    def verify(self) -> None:
        """Raises where no process can be started, or libav is not there."""
        answer = self._decode(time.monotonic() + 60.0, _NO_VIDEO)
        if isinstance(answer, Abstention) and answer.reason == READER_ERROR:
            raise RuntimeError(f"its process ended with {answer.cause}; is PyAV installed?")

    def read(self, parts: tuple[Part, ...]) -> list[list[Part] | Abstention]:
        """The pictures of each video, in order of their time."""
        read = partial(self._read, time.monotonic() + self._timeout_seconds)
        with ThreadPoolExecutor(self._processes) as pool:
            return list(pool.map(read, parts))

    def _read(self, deadline: float, part: Part) -> list[Part] | Abstention:
        if not form_of(part.content[:HEAD]):
            return Abstention(UNSUPPORTED_INPUT, cause="wrong_container")
        return self._decode(deadline, part.content)

    def _decode(self, deadline: float, content: bytes) -> list[Part] | Abstention:
        with closing(_file()) as given, closing(_file()) as made:
            given.write(content)
            given.seek(0)
            try:
                done = subprocess.run(  # noqa: S603 - our own program
                    [*_COMMAND, json.dumps(asdict(self.limits))],
                    stdin=given,
                    stdout=made,
                    stderr=subprocess.DEVNULL,  # what libav says may quote content
                    timeout=max(0.0, deadline - time.monotonic()),
                    check=False,
                    env={name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)},
                )
            except subprocess.TimeoutExpired:
                return Abstention(READER_TIMEOUT)
            if done.returncode:
                return _died(done.returncode)
            made.seek(0)
            return _answer(made)


def _file() -> BinaryIO:
    """A file without a name, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("video"), "w+b")  # noqa: PTH123 - closed by its user; it has no path
    return tempfile.TemporaryFile()


def _died(code: int) -> Abstention:
    """A process that died of a video: the video's doing, never a fault for which the reader is put to rest."""
    if code == -signal.SIGXCPU:
        return Abstention(UNSUPPORTED_INPUT, cause="too_much_work")
    if code == -signal.SIGXFSZ:
        return Abstention(UNSUPPORTED_INPUT, cause="too_many_bytes")
    if code < 0:
        return Abstention(UNSUPPORTED_INPUT, cause=signal.Signals(-code).name)
    return Abstention(READER_ERROR, cause=f"exit_{code}")


def _answer(made: BinaryIO) -> list[Part] | Abstention:
    told = json.loads(made.readline())
    if "cause" in told:
        return Abstention(UNSUPPORTED_INPUT, cause=told["cause"])
    return list(_pictures(told["pictures"], made))


def _pictures(told: list[list[str | int]], made: BinaryIO) -> Iterator[Part]:
    for name, length in told:
        yield Part.image(made.read(int(length)), name=str(name))
