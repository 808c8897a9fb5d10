"""HTTP on one connection: uvicorn's, with limits on what it reads while no route waits for it, and on how long and how much of answers may lie unread."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from itertools import chain
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moderation.server.edge import SECURE, Receive, Scope, Send
from moderation.server.errors import ApiError
from moderation.server.joined import Joined

HEAD_BYTES = 65_536  # of a request's first line and headers, beyond the piece in which they begin, and of what is neither these nor its body
_UNREAD = 60.0  # seconds that an answer may wait for its caller to read it
MOST_HEADERS = 200
MOST_AHEAD = 100  # requests of one connection that wait for the one before them to be answered: one piece of what came may hold thousands
_NO_HTTP = "Invalid HTTP request received."
_SPARE = 50  # connections beyond the most, on which probes are answered, and everybody else is told to come again


class Connections:
    """All connections of a server: `most` at once, whose unread answers have at most `unread_bytes` together, or one answer more.

    One too many takes the place of the one that has been idle longest, or else, where answers lie unread, of who asked first of them. Where all are in work, a few more are let in, and `crowded`. Where too much
    lies unread, who has not read for the longest is dropped. `cut` hears why one is cut, here or for what came on it.
    """

    def __init__(self, most: int, unread_bytes: int, cut: Callable[[str], object] = lambda _: None) -> None:
        self._most, self._unread_bytes, self.cut = most, unread_bytes, cut
        self._open: dict[BoundedProtocol, bool] = {}  # whether it was one too many; who asked last comes last
        self._unread: dict[BoundedProtocol, None] = {}  # who stopped reading last comes last

    def admit(self, one: BoundedProtocol) -> None:
        """Let a new one in, or drop it."""
        if len(self._open) >= self._most:
            no_more = len(self._open) >= self._most + _SPARE  # else who has just come may yet ask
            answered = (other for other, too_many in self._open.items() if other.answered and (no_more or not too_many))
            if first := next(answered, None):
                next((other for other in chain((first,), answered) if other.idle), first).drop("crowded")
        if len(self._open) < self._most + _SPARE:
            self._open[one] = len(self._open) >= self._most
        else:
            one.drop("crowded")

    def crowded(self, one: BoundedProtocol) -> bool:
        """Whether it is one too many, and still is."""
        return self._open.get(one, False) and len(self._open) > self._most

    def asks(self, one: BoundedProtocol) -> None:
        """It has a request."""
        if one in self._open:
            self._open[one] = self._open.pop(one)

    def stops_reading(self, one: BoundedProtocol) -> None:
        """Its answer is not read as fast as it is sent."""
        self._unread[one] = None
        sizes = {other: other.transport.get_write_buffer_size() for other in self._unread}
        much = sum(sizes.values()) - self._unread_bytes
        for other, size in sizes.items():
            if much <= 0 or other is one:
                break
            other.drop("unread")
            much -= size

    def reads(self, one: BoundedProtocol) -> None:
        """It reads on."""
        self._unread.pop(one, None)

    def lose(self, one: BoundedProtocol) -> None:
        """It is gone."""
        self._open.pop(one, None)
        self._unread.pop(one, None)


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers take longer than `read_seconds`, or are larger than HEAD_BYTES.

    The same goes for what is left of a body that was refused, for a connection that says nothing at first, and for an answer that nobody reads.
    A body that is waited for has its own limits, in `Edge`. `connections` are those of the same server.
    """

    def __init__(self, *args: Any, read_seconds: float, connections: Connections, **more: Any) -> None:
        super().__init__(*args, **more)
        self.app, self._answer = self._when_read, self.app
        self._read_seconds, self._others = read_seconds, connections
        self._reading: TimerHandle | None = None
        self._writing: TimerHandle | None = None
        self._in_head = self._in_message = False
        self._bodiless = 0  # bytes of a message since the last of its body, or since it began
        self._asked: deque[Any] = deque()  # its requests from the first on that is not answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The caller has this long until its first request is there."""
        super().connection_made(Joined(transport, self.loop, patience=_UNREAD))  # type: ignore[arg-type]
        self._reading = self.loop.call_later(self._read_seconds, self._read_too_slowly)
        self._others.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._others.lose(self)
        self._reading = self._end(self._reading)
        self._writing = self._end(self._writing)
        for cycle in self._asked:  # uvicorn tells the last one alone, where the first is in work
            cycle.disconnected = cycle.disconnected or not cycle.response_complete
            cycle.message_event.set()
        super().connection_lost(exc)
        # What is in work goes on; but a connection is held by its requests, and by itself as the app.
        self._asked.clear()
        self.cycle, self.app = None, self._answer  # type: ignore[assignment]

    def eof_received(self) -> None:
        """It asks no more, which is all that is seen of a caller who went away: only what is answered by now is sent."""
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Bytes for whom no route waits have their time; a head has its size, and so has what stands between and behind the pieces of a body."""
        self._bodiless += len(data) if self._in_message else 0
        self._unset_keepalive_if_required()
        self._parse(memoryview(data))
        if self.cycle is not None and not self.cycle.response_complete:
            self._reading = self._end(self._reading)
        elif self._reading is None:
            self._reading = self.loop.call_later(self._read_seconds, self._read_too_slowly)
        if self._in_message and self._bodiless > HEAD_BYTES:
            self._refuse(ApiError(431, "headers_too_large", f"expected headers of at most {HEAD_BYTES} bytes"))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = self._in_message = True
        self._bodiless = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of a head. What stands behind a body is no header: who asks is known by then, and what."""
        if self._in_head and len(self.headers) == MOST_HEADERS:
            self._refuse(ApiError(431, "too_many_headers", f"expected at most {MOST_HEADERS} headers"))
            raise httptools.HttpParserError  # goes through no more of what came
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._bodiless = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """A head is there; one that offers another protocol comes again, without the offer."""
        self._in_head = False
        if self.parser.should_upgrade():
            return
        if len(self.pipeline) == MOST_AHEAD:
            self.drop("too_many_ahead")
            raise httptools.HttpParserError
        super().on_headers_complete()
        while self._asked and self._asked[0].response_complete:
            self._asked.popleft()
        self._asked.append(self.cycle)
        if len(self.pipeline) == 1:  # read on: else nobody sees that the caller goes away
            self.flow.resume_reading()

    def on_message_complete(self) -> None:
        """All of a request is there, but for one whose head comes again."""
        self._in_message = False
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def pause_writing(self) -> None:
        """More of an answer waits than is sent at once: its caller has this long to read it."""
        super().pause_writing()
        self._writing = self.loop.call_later(_UNREAD, self.drop, "unread")
        self._others.stops_reading(self)

    def resume_writing(self) -> None:
        """It is being read."""
        self._others.reads(self)
        self._writing = self._end(self._writing)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """It is no HTTP: told in the shape of every other error."""
        self._refuse(ApiError(400, "invalid_http", msg))

    def timeout_keep_alive_handler(self) -> None:
        """It was idle for long: what was not read by now never will be."""
        self.drop()

    @property
    def answered(self) -> bool:
        """Whether nothing of it is in work."""
        return self.cycle is None or bool(self.cycle.response_complete)

    @property
    def idle(self) -> bool:
        """Whether nothing of it is in work, nor waits to be read."""
        return self.answered and not self.transport.get_write_buffer_size()

    def drop(self, why: str = "") -> None:
        """Close it at once, whatever waits to be read. It is cut, if that has a reason."""
        if why:
            self._others.cut(why)
        self._others.lose(self)
        self.transport.abort()

    async def _when_read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer once the answer before is read: who asks and asks, and reads nothing, else has another answer held each time."""
        self._others.asks(self)
        scope["state"]["crowded"] = self._others.crowded(self)
        if self.flow.write_paused:
            await self.flow.drain()
        await self._answer(scope, receive, send)

    def _parse(self, data: memoryview) -> None:
        """Go through what came. Who offers another protocol, as Java's own client does HTTP/2 each time, is answered in this one."""
        try:
            while data:
                data = self._parse_on(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # the latter for CONNECT, without any offer
            self.logger.warning(_NO_HTTP)
            self.send_400_response(_NO_HTTP)

    def _parse_on(self, data: memoryview) -> memoryview:
        """Gives what is left behind a head with an offer: the parser leaves a body to the other protocol, and would read what is in it as the next request."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            left = data[offered.args[0] :]
        else:
            return data[:0]
        self.parser.feed_data(self._head_without_offer())
        return left

    def _head_without_offer(self) -> bytes:
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [b"%s: %s" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([first, *kept, b"", b""])

    @staticmethod
    def _end(timer: TimerHandle | None) -> None:
        if timer:
            timer.cancel()

    def _read_too_slowly(self) -> None:
        if self._in_head:
            why = f"the headers did not arrive within {self._read_seconds:g} s"
            self._refuse(ApiError(408, "too_slow", why))
        elif not self.transport.is_closing():
            self._others.cut("silent")
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        first = b"HTTP/1.1 %d %s" % (error.status, HTTPStatus(error.status).phrase.encode())
        told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(error.body))]
        headers = [b"%s: %s" % one for one in (*told, *SECURE, (b"connection", b"close"))]
        if not self.transport.is_closing():
            self._others.cut(error.code)
            self.transport.write(b"\r\n".join([first, *headers, b"", error.body]))
            self.transport.close()
