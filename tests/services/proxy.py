"""A TCP proxy before a broker that refuses, stalls, drops, or does something just when a certain request or answer passes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
# Requests of Kafka's protocol, by their keys.
PRODUCE, METADATA, COMMIT_OFFSETS, FETCH_OFFSETS, JOIN_GROUP, SYNC_GROUP, INIT_PRODUCER = 0, 3, 8, 9, 11, 14, 22
ADD_PARTITIONS, ADD_OFFSETS, END_TRANSACTION, COMMIT_IN_TRANSACTION = 24, 25, 26, 28
Trap = Callable[[], object]


class FaultProxy:
    """Forwards whole frames of Kafka's protocol from one port of loopback to another, until it is told otherwise."""

    def __init__(self, listen: int, target: int) -> None:
        self._listen, self._target = listen, target
        self.address = f"{HOST}:{listen}"
        self._lock = threading.Lock()
        self._listening: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._traps: dict[tuple[str, int], Trap] = {}
        self._cut: int | None = None
        self._spoiled: bytes | None = None
        self._flowing = threading.Event()
        self._flowing.set()
        self.sprung: list[tuple[str, int]] = []

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flowing.set()
        self.refuse()

    def accept(self) -> None:
        """Take connections (again)."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, self._listen))
        listening.listen(64)
        self._listening = listening
        threading.Thread(target=self._take, args=(listening,), daemon=True).start()

    def refuse(self, seconds: float | None = None) -> None:
        """Drop every connection and refuse new ones, for so long or until `accept`."""
        listening, self._listening = self._listening, None
        if listening:
            listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        self.drop()
        if seconds is not None:
            timer = threading.Timer(seconds, self.accept)
            timer.daemon = True
            timer.start()

    def drop(self) -> None:
        """Reset every connection; new ones are taken."""
        with self._lock:
            ended, self._open = self._open, set()
        for one in ended:
            _reset(one)

    def stall(self) -> None:
        """Keep connections open and let nothing through, until `flow`."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let through what was held back, and what comes."""
        self._flowing.set()

    def cut(self, key: int | None) -> None:
        """Drop every connection over which a request of this kind comes, before it is passed on; None ends it."""
        self._cut = key

    def spoil(self, word: bytes) -> None:
        """From now on, pass on answers that hold these bytes with them backwards, as a broken disk might."""
        self._spoiled = word

    def on_request(self, key: int, trap: Trap) -> None:
        """Once, when a request of this kind has come and before it is passed on: do this. It is passed on if its connection still stands."""
        self._traps["request", key] = trap

    def on_answer(self, key: int, trap: Trap) -> None:
        """Once, when the broker has answered a request of this kind and before the answer is passed on: do this."""
        self._traps["answer", key] = trap

    def _take(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection((HOST, self._target), timeout=5)
            except OSError:
                _reset(client)
                continue
            broker.settimeout(None)
            with self._lock:
                self._open |= {client, broker}
            kinds: dict[int, int] = {}
            for way, source, sink in (("request", client, broker), ("answer", broker, client)):
                threading.Thread(target=self._pump, args=(way, source, sink, kinds), daemon=True).start()

    def _pump(self, way: str, source: socket.socket, sink: socket.socket, kinds: dict[int, int]) -> None:
        with contextlib.suppress(OSError):
            while frame := _frame(source):
                key = _kind(way, frame, kinds)
                self._spring(way, key)
                if way == "request" and key == self._cut:
                    break
                if way == "answer" and self._spoiled:
                    frame = frame.replace(self._spoiled, self._spoiled[::-1])
                self._flowing.wait()
                sink.sendall(frame)
        with self._lock:
            self._open -= {source, sink}
        for one in (source, sink):
            _reset(one)

    def _spring(self, way: str, key: int) -> None:
        trap = self._traps.pop((way, key), None)
        if trap:
            self.sprung.append((way, key))
            trap()


def _kind(way: str, frame: bytes, kinds: dict[int, int]) -> int:
    """What kind of request a frame is, or answers; `kinds` remembers, by correlation id, which requests wait for an answer."""
    if way == "request":
        key, _version, correlation = struct.unpack_from(">hhi", frame, 4)
        kinds[correlation] = int(key)
        return int(key)
    (correlation,) = struct.unpack_from(">i", frame, 4)
    return kinds.pop(correlation, -1)


def _frame(source: socket.socket) -> bytes:
    """The next frame with its length before it, or nothing at the end, be it in the middle of a frame."""
    head = _exactly(source, 4)
    body = _exactly(source, int.from_bytes(head, "big"))
    return head + body if body else b""


def _exactly(source: socket.socket, count: int) -> bytes:
    taken = bytearray()
    while len(taken) < count:
        part = source.recv(count - len(taken))
        if not part:
            return b""
        taken += part
    return bytes(taken)


def _reset(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)
    one.close()
