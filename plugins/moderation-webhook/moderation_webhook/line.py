"""POST requests to one address, one after the other over one connection that is kept, within limits of time and size."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from types import TracebackType
from typing import Self

from moderation.fetcher.dial import Deadline, Dialer, PassingError, answer, passing, request, retry_after
from moderation.fetcher.url import Url

MOST_BYTES = (
    65_536  # of an answer's body; what it says is nobody's business, but a kept connection has to be read to its end
)
_FIXED = {"User-Agent": "moderation", "Accept": "*/*", "Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: the status, and the seconds that `Retry-After` asks for."""

    status: int
    retry_after: float


class Line:
    """One connection at a time to one address; redirects are answers like others, and are never followed."""

    def __init__(self, dialer: Dialer, url: Url) -> None:
        self._dialer, self._url = dialer, url
        self._open: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        if self._open:
            self._open.close()
        self._open = None

    def post(self, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        """The answer to this body. A kept connection that the other side has closed meanwhile is opened anew, once. Raises ItemError."""
        kept = self._open is not None
        try:
            return self._post(body, headers, deadline)
        except PassingError as error:
            if not kept or error.cause != "broken_answer":
                raise
        return self._post(body, headers, deadline)

    def _post(self, body: bytes, headers: Mapping[str, str], deadline: Deadline) -> Answer:
        try:
            if self._open is None:
                self._open = self._dialer.dial(self._url, deadline)
            self._open.settimeout(deadline.left())
            head = request("POST", self._url, {**_FIXED, "Content-Length": str(len(body)), **headers})
            self._open.sendall(head + body)
            found = answer(self._open, "POST", deadline)
            said = Answer(found.status, retry_after(found.headers.get("Retry-After", "")))
        except (OSError, HTTPException) as error:
            self.close()
            raise passing(error, self._url) from None
        except BaseException:
            self.close()
            raise
        self._read_to_its_end(found)
        return said

    def _read_to_its_end(self, found: object) -> None:
        """Or close: what comes after the status changes nothing of it."""
        try:
            whole = len(found.read(MOST_BYTES + 1)) <= MOST_BYTES and found.isclosed() and not found.will_close
        except Exception:  # noqa: BLE001 - as above: the other side has taken the message, or not, by now
            whole = False
        if not whole:
            self.close()
