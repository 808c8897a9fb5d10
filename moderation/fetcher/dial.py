"""A connection to a host: to an address that was checked and is then the one connected to, with TLS for the name that was asked for, within one deadline.

For whoever asks strangers, or sends to them, over HTTP. Nothing of the environment counts, no proxies and no .netrc. A network policy of
the place where it runs should stand behind it as the second wall.
"""

from __future__ import annotations

import datetime as dt
import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Any

from moderation.errors import ItemError
from moderation.fetcher.address import checked
from moderation.fetcher.url import Url, allowed
from moderation.item import UNFETCHABLE, unfetchable

MOST_ADDRESSES = 4  # of one host, tried one after the other
Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, int, float], socket.socket]


class PassingError(ItemError):
    """A fault that may be gone at the next try, after `wait` seconds; `asked` is whether a request was made, `busy` whether it counts against the host."""

    def __init__(self, cause: str, message: str, *, wait: float = 0.0, asked: bool = True, busy: bool = True) -> None:
        super().__init__(UNFETCHABLE, message, cause=cause)
        self.wait, self.asked, self.busy = wait, asked, busy


class Deadline:
    """The time that is left for everything together."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def rest(self) -> float:
        """Seconds, perhaps fewer than none."""
        return self._end - time.monotonic()

    def left(self) -> float:
        """Seconds, more than none. Raises ItemError with cause `too_slow` where there are none."""
        rest = self.rest
        if rest <= 0:
            raise too_slow()
        return rest


def resolve(host: str, port: int) -> list[str]:
    """Every address that the system's resolver has for a host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to this very address."""
    return socket.create_connection((address, port), seconds)


class Dialer:
    """Connects to hosts, whose addresses are those of the public internet, of `private` ones (patterns as in the settings) also those of a network of one's own.

    `tls` says whom to trust; `resolve` and `connect` are the only ways to the outside.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        *,
        private: Sequence[str] = (),
        resolve: Resolve = resolve,
        connect: Connect = connect,
    ) -> None:
        self._tls, self._private, self._resolve, self._connect = tls, private, resolve, connect

    def dial(self, url: Url, deadline: Deadline) -> socket.socket:
        """A connection to one of the host's addresses, which are all checked before. Raises ItemError, `unfetchable`."""
        try:
            answers = self._resolve(url.host, url.port)
        except (OSError, UnicodeError):
            raise PassingError("unreachable", f"{url}: the host has no address") from None
        addresses = checked(answers, private=allowed(url, self._private))[:MOST_ADDRESSES]
        for number, address in enumerate(addresses):
            try:
                plain = self._connect(str(address), url.port, deadline.left() / (len(addresses) - number))
            except OSError:
                continue
            try:
                plain.settimeout(deadline.left())
            except ItemError:  # the connection took all of it
                plain.close()
                raise
            return self._secured(plain, url) if url.scheme == "https" else plain
        deadline.left()
        raise PassingError("unreachable", f"{url}: no connection")

    def _secured(self, plain: socket.socket, url: Url) -> socket.socket:
        """TLS with the name that was asked for, whatever address it has."""
        with plain:  # detached where it became a part of the other, closed where it did not
            try:
                return self._tls.wrap_socket(plain, server_hostname=url.host, suppress_ragged_eofs=False)
            except (TimeoutError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as error:
                raise unfetchable("tls", f"{url}: {error.reason or 'no TLS'}") from None


def request(method: str, url: Url, headers: Mapping[str, str]) -> bytes:
    """The head of a request, with the header Host and these."""
    lines = [f"{name}: {value}" for name, value in {"Host": url.authority, **headers}.items()]
    return "\r\n".join([f"{method} {url.target} HTTP/1.1", *lines, "", ""]).encode("ascii")


def answer(connection: socket.socket, method: str, deadline: Deadline) -> HTTPResponse:
    """The answer to a request, its head read. Raises what socket and http.client raise, and ItemError with cause `too_slow`."""
    found = HTTPResponse(_Timed(connection, deadline), method=method)  # type: ignore[arg-type]
    found.begin()
    return found


def passing(error: OSError | HTTPException, url: Url) -> PassingError:
    """What an exception of the wire means."""
    if isinstance(error, TimeoutError):
        return too_slow()
    return PassingError("broken_answer", f"{url}: the answer broke off, or is none")


def too_slow() -> PassingError:
    """No time is left."""
    return PassingError("too_slow", "no answer in time")


def retry_after(text: str, *, now: dt.datetime | None = None) -> float:
    """Seconds to wait, of a header Retry-After: a number of them or a date (RFC 9110, 10.2.3); 0 where it is neither, or past."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=dt.UTC)
    return max(0.0, (date - (now or dt.datetime.now(dt.UTC))).total_seconds())


class _Timed(io.RawIOBase):
    """What a connection sends, each piece waited for as long as there is time for all: one that drips gains nothing by it."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection, self._deadline = connection, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._deadline.left())
        return self._connection.recv_into(buffer)
