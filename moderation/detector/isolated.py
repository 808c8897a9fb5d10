"""A unit in a process of its own: there it may hang, crash, print and fill the memory; it is ended, and another one started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, cast

from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.faults import BAD_ANSWER, ERROR, TIMEOUT, FaultError, SetupError
from moderation.detector.life import SETUP_SECONDS
from moderation.detector.wire import (
    LENGTH,
    MOST_GREETING_BYTES,
    Description,
    Greeting,
    decode_answers,
    decode_greeting,
    encode_batch,
    most_bytes,
)

_REAP_SECONDS = 5.0
_SECRETS = "MODERATION_"


class IsolatedUnit:
    """Works in a process that `command` starts, given two more arguments: the descriptors of a socket that speaks `wire` and of a pipe
    that ends when its parent does. `given` is all that it finds in its standard input.

    The process is started when it is first needed and again after its death, and has `start_seconds` each time, in which it sets the unit
    up; calls wait for their turn. It ends with this object and with this process, whatever ends that. `starts` counts its lives.
    """

    def __init__(self, command: Sequence[str], *, given: bytes = b"", start_seconds: float = SETUP_SECONDS) -> None:
        self.starts = 0
        self._command, self._given, self._start_seconds = tuple(command), given, start_seconds
        self._turn = threading.Lock()
        self._process: _Process | None = None

    def setup(self) -> None:
        """Start the process and wait until it is ready, its unit set up there. Raises SetupError, or OSError, where it does not come to that."""
        self._greeted()

    def _greeted(self) -> Greeting:
        """What a process says that is ready."""
        try:
            with self._ready(self._start_seconds) as (process, deadline):
                return process.greet(deadline)
        except FaultError as fault:
            raise SetupError(how_it_died(fault)) from None

    def close(self) -> None:
        """End the process, if there is one; a later call starts another one."""
        with self._turn:
            self._end()

    @contextlib.contextmanager
    def _ready(self, seconds: float) -> Iterator[tuple[_Process, float]]:
        """A process for one exchange and the moment when it must be over; a process that fails is ended."""
        deadline = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise FaultError(TIMEOUT)
        try:
            with _faults(self._end):
                process = self._running()
                told = process.greet(deadline)
                if told.broken:
                    raise SetupError(told.broken)
                yield process, deadline
        finally:
            self._turn.release()

    def _running(self) -> _Process:
        if self._process and not self._process.waits:
            self._end()
        if not self._process:
            self._process = _Process(self._command, self._given, self._start_seconds)
            self.starts += 1
        return self._process

    def _end(self) -> str:
        process, self._process = self._process, None
        return process.end() if process else ""


class IsolatedDetector(IsolatedUnit):
    """Judges there; `revision` is what came with its last answers."""

    def __init__(self, described: Description, command: Sequence[str], **started: Any) -> None:
        super().__init__(command, **started)
        self.id, self.labels, self.modalities = described.id, described.labels, described.modalities
        self.needs_embeddings, self.needs_scores = described.needs_embeddings, described.needs_scores
        self.steepness, self.revision = described.steepness, ""

    def detect(self, batch: DetectionBatch, *, seconds: float = SETUP_SECONDS) -> Sequence[Detection]:
        """Its answers, unchecked: what is no answer at all is WRONG.

        Raises FaultError where it raised, died, gave rubbish, or had not answered after `seconds`; of these only a process that raised, or
        has not finished its start, is left alive. Raises OSError where no process can be started, SetupError where a fresh one cannot set the
        detector up.
        """
        with self._ready(seconds) as (process, deadline):
            process.send(encode_batch(batch), deadline)
            answers, self.revision = decode_answers(process.receive(most_bytes(len(batch)), deadline))
            return answers


def how_it_died(fault: FaultError) -> str:
    """What became of a process that did not start, for people."""
    return (
        "its process took too long" if fault.reason == TIMEOUT else f"its process ended with {fault.cause or 'rubbish'}"
    )


def greeting_of(command: Sequence[str], *, given: bytes = b"", seconds: float = SETUP_SECONDS) -> Greeting:
    """What a process says that it has; it is ended then. Raises FaultError where it does not say so in time, OSError where none can be started."""
    process = _Process(command, given, seconds)
    with _faults(process.end):
        try:
            return process.greet(time.monotonic() + seconds)
        finally:
            process.end()


@contextlib.contextmanager
def _faults(end: Callable[[], str]) -> Iterator[None]:
    """What goes wrong on the line, as a fault; the process is ended then, and tells how. What is a fault already is no reason to end it."""
    try:
        yield
    except FaultError:
        raise
    except BaseException as error:
        how = end()
        if isinstance(error, TimeoutError):
            raise FaultError(TIMEOUT) from None
        if isinstance(error, EOFError | ConnectionError):
            raise FaultError(ERROR, how) from None
        if isinstance(error, ValueError):
            raise FaultError(BAD_ANSWER) from None
        raise


class _Process:
    """One life of a process, and the line to it. What is read is a stranger's: short frames, no code.

    `send`, `receive` and `greet` raise TimeoutError at the deadline, EOFError or ConnectionError where it is gone.
    """

    def __init__(self, command: Sequence[str], given: bytes, start_seconds: float) -> None:
        self._line, theirs = socket.socketpair()
        lifeline, ours = os.pipe()
        self._read, self._may_start_until = bytearray(), time.monotonic() + start_seconds
        self._greeting: Greeting | None = None
        self._how = ""
        with theirs:
            try:
                child = _spawn([*command, str(theirs.fileno()), str(lifeline)], given, (theirs.fileno(), lifeline))
            except BaseException:
                self._line.close()
                os.close(ours)
                raise
            finally:
                os.close(lifeline)
        self._finish = weakref.finalize(self, _end, child, self._line, ours)

    @property
    def waits(self) -> bool:
        """Whether it is there, and says nothing that nobody asked."""
        if self._greeting is None:
            return True
        self._line.setblocking(False)
        try:
            self._line.recv(1, socket.MSG_PEEK)  # a word too many, or its end
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    def greet(self, deadline: float) -> Greeting:
        """Wait until it has said what it has. Raises FaultError where it may take longer, ValueError where it talks rubbish."""
        if self._greeting is None:
            try:
                self._greeting = decode_greeting(self.receive(MOST_GREETING_BYTES, deadline))
            except TimeoutError:
                if time.monotonic() < self._may_start_until:
                    raise FaultError(TIMEOUT) from None
                raise
        return self._greeting

    def send(self, pieces: Iterable[bytes | bytearray], deadline: float) -> None:
        """Send all of it."""
        for piece in pieces:
            self._line.settimeout(_left(deadline))
            self._line.sendall(piece)

    def receive(self, most: int, deadline: float) -> bytearray:
        """One frame, and whatever came right behind it, which spoils it; it is held once. Raises ValueError where it is longer than `most` bytes."""
        self._fill(LENGTH.size, deadline)
        (length,) = LENGTH.unpack_from(self._read)
        if length > most:
            raise ValueError(f"found a frame of {length} bytes; expected at most {most}")
        self._fill(LENGTH.size + length, deadline)
        frame, self._read = self._read, bytearray()
        del frame[: LENGTH.size]
        return frame

    def end(self) -> str:
        """End it and all that it started, if it still lives; how it died, in a word: `SIGSEGV`, `exit_3`."""
        self._how = self._finish() or self._how
        return self._how

    def _fill(self, size: int, deadline: float) -> None:
        while len(self._read) < size:
            self._line.settimeout(_left(deadline))
            came = self._line.recv(1 << 16)
            if not came:
                raise EOFError
            self._read += came


def _spawn(command: Sequence[str], given: bytes, handed: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """A process in a session of its own, with our import path, without our secrets, deaf and mute but for what is given and handed to it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
    environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(one) for one in sys.path)  # noqa: PTH100 - "" is the working directory
    child = subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=handed,
        start_new_session=True,
        env=environment,
    )
    with contextlib.suppress(BrokenPipeError), cast(IO[bytes], child.stdin) as line:  # it may be dead already
        line.write(given)
    return child


def _end(child: subprocess.Popen[bytes], line: socket.socket, lifeline: int) -> str:
    # The group before the process is waited for: until then its number cannot become another's. Who is already dying keeps its cause.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    line.close()
    os.close(lifeline)
    try:
        code = child.wait(_REAP_SECONDS)
    except subprocess.TimeoutExpired:
        return "unknown"
    if code >= 0:
        return f"exit_{code}"
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"signal_{-code}"


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0.0:
        raise TimeoutError
    return left
