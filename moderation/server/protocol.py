"""HTTP on one connection: uvicorn's, with limits on what it reads while no route waits for it, and on how long an answer may lie unread."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moderation.server.errors import ApiError
from moderation.server.joined import Joined

HEAD_BYTES = 65_536  # of a request's first line and headers, beyond the piece in which they begin
_UNREAD = 60.0  # seconds that an answer may wait for its caller to read it


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers take longer than `read_seconds`, or are larger than HEAD_BYTES.

    The same goes for what is left of a body that was refused, for a connection that says nothing at first, and for an answer that nobody reads.
    A body that is waited for has its own limits, in `Edge`.
    """

    def __init__(self, *args: Any, read_seconds: float, **more: Any) -> None:
        super().__init__(*args, **more)
        self._read_seconds = read_seconds
        self._reading: TimerHandle | None = None
        self._writing: TimerHandle | None = None
        self._in_head, self._head_bytes = False, 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The caller has this long until its first request is there."""
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        self._reading = self.loop.call_later(self._read_seconds, self._read_too_slowly)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._reading = self._end(self._reading)
        self._writing = self._end(self._writing)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes for whom no route waits have their time, and a head its size."""
        self._head_bytes += len(data) if self._in_head else 0
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._reading = self._end(self._reading)
        elif self._reading is None and not self.transport.is_closing():
            self._reading = self.loop.call_later(self._read_seconds, self._read_too_slowly)
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse(ApiError(431, "headers_too_large", f"expected headers of at most {HEAD_BYTES} bytes"))

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is there."""
        self._in_head = False
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """More of an answer waits than is sent at once: its caller has this long to read it."""
        super().pause_writing()
        self._writing = self._writing or self.loop.call_later(_UNREAD, self.transport.abort)

    def resume_writing(self) -> None:
        """It is being read."""
        self._writing = self._end(self._writing)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """It is no HTTP: told in the shape of every other error."""
        self._refuse(ApiError(400, "invalid_http", msg))

    def timeout_keep_alive_handler(self) -> None:
        """It was idle for long: what was not read by now never will be."""
        self.transport.abort()

    @staticmethod
    def _end(timer: TimerHandle | None) -> None:
        if timer:
            timer.cancel()

    def _read_too_slowly(self) -> None:
        if self._in_head:
            why = f"the headers did not arrive within {self._read_seconds:g} s"
            self._refuse(ApiError(408, "too_slow", why))
        else:
            self.transport.close()

    def _refuse(self, error: ApiError) -> None:
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        words = HTTPStatus(error.status).phrase.encode()
        if not self.transport.is_closing():
            self.transport.write(head % (error.status, words, len(error.body)) + error.body)
            self.transport.close()
