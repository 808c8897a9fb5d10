"""What a connection writes, sent at once: uvicorn writes an answer's head and its body one after the other, which cost a call and a packet each."""

from __future__ import annotations

import asyncio
from typing import Any


class Joined:
    """A transport that sends together two pieces that are written in one turn of the loop: all else it does as it is.

    Once it is closed, who does not read the rest has `patience` seconds for it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, *, patience: float) -> None:
        self._transport, self._loop, self._patience = transport, loop, patience
        self._held: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it with what was held before, or else hold it for what comes next in this turn."""
        self._held.append(data)
        if len(self._held) > 1:  # at once: what else is done about an answer, as counting it, is not waited for
            self._send()
        else:
            self._loop.call_soon(self._send)

    def get_write_buffer_size(self) -> int:
        """Bytes that wait to be sent."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._held))

    def close(self) -> None:
        """Send what is held, and close."""
        self._send()
        self._transport.close()
        if self._transport.get_write_buffer_size():  # for which it would wait for ever
            self._loop.call_later(self._patience, self._transport.abort)

    def abort(self) -> None:
        """Send what is held, as far as that goes at once, and close."""
        self._send()
        self._transport.abort()

    def _send(self) -> None:
        held = b"".join(self._held)
        self._held.clear()
        if held and not self._transport.is_closing():  # as it may be by now: uvloop then raises
            self._transport.write(held)
