"""One guarded GET: an allowed host, an address that was checked and is then the one connected to, few bytes, little time.

Nothing of the environment counts (no proxies, no .netrc), nothing is sent but the request, and nothing is unpacked. A network policy of
the place where it runs should stand behind it as the second wall.
"""

from __future__ import annotations

import datetime as dt
import io
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urljoin

from moderation.breaker import Breaker, Breakers, RestingError
from moderation.errors import ItemError, SettingsError
from moderation.fetcher.address import checked
from moderation.fetcher.url import Url, allowed, read_url
from moderation.item import UNFETCHABLE, unfetchable
from moderation.sections import FetchSettings

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_ADDRESSES = 4  # of one host, tried one after the other
PAUSE = 0.1  # seconds before the second try, doubling, give or take half
FAILURES = 5  # of a host in a row, after which it is left alone for a while
_BUSY = frozenset({429, 503})  # with these a host says that it has too much to do
_FIXED = {"User-Agent": "moderation", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, int, float], socket.socket]
Headers = Callable[[Url], Mapping[str, str]]


def resolve(host: str, port: int) -> list[str]:
    """Every address that the system's resolver has for a host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def connect(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to this very address."""
    return socket.create_connection((address, port), seconds)


class HttpFetcher:
    """Gets content by one scheme, http or https, from these hosts and the settings' private ones; for any number of threads.

    `tls` says whom to trust; `resolve` and `connect` are the only ways to the outside, `breakers` (by host and port) keep
    from one that fails.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        scheme: str,
        hosts: Sequence[str],
        tls: ssl.SSLContext,
        resolve: Resolve = resolve,
        connect: Connect = connect,
        breakers: Breakers | None = None,
    ) -> None:
        self._settings, self._scheme, self._tls = settings, scheme, tls
        self._hosts = (*hosts, *settings.private_hosts)
        self._resolve, self._connect = resolve, connect
        self._breakers = breakers or Breakers(partial(Breaker, failures=FAILURES))

    def fetch(self, reference: str) -> bytes:
        """The content at an address. Raises ItemError, `unfetchable`."""
        return self.get(read_url(reference))

    def get(self, url: Url, headers: Headers = lambda _: {}) -> bytes:
        """The content at an address, asked for again after faults that pass, as late as the host wishes and the time of one fetch allows.

        `headers` are made anew for each request.
        """
        deadline, tries = _Deadline(self._settings.timeout_seconds), 0
        while True:
            try:
                return self._follow(url, headers, deadline)
            except _PassingError as error:
                tries += error.asked
                pause = error.wait + PAUSE * 2 ** max(0, tries - 1) * random.uniform(0.5, 1.5)
                if tries == self._settings.tries or pause >= deadline.rest:
                    raise
                time.sleep(pause)

    def _follow(self, url: Url, headers: Headers, deadline: _Deadline) -> bytes:
        for _ in range(self._settings.redirects + 1):
            found = self._ask(url, headers(url), deadline)
            if isinstance(found, bytes):
                return found
            url = found
        raise unfetchable("redirected", f"more than {self._settings.redirects} redirects")

    def _ask(self, url: Url, headers: Mapping[str, str], deadline: _Deadline) -> bytes | Url:
        """One request, unless the host failed too often just now: the content, or where it is said to be."""
        self._allow(url)
        try:
            with self._breakers.of(url.authority).watch(spares=_is_no_fault_of_the_host):
                return self._answer(url, headers, deadline)
        except RestingError as resting:
            told = f"{url}: the host failed {FAILURES} times in a row, and is left alone for a while"
            raise _PassingError("host_resting", told, wait=resting.seconds, asked=False) from None

    def _answer(self, url: Url, headers: Mapping[str, str], deadline: _Deadline) -> bytes | Url:
        try:
            with self._connected(url, deadline) as connection:
                connection.sendall(_request(url, headers))
                answer = HTTPResponse(_Timed(connection, deadline), method="GET")  # type: ignore[arg-type]
                answer.begin()
                if answer.status in REDIRECTS:
                    return _next(url, answer.headers.get("Location", ""))
                return _body(url, answer, self._settings.max_bytes, deadline)
        except TimeoutError:
            raise _too_slow() from None
        except (OSError, HTTPException):
            raise _PassingError("broken_answer", f"{url}: the answer broke off, or is none") from None

    def _allow(self, url: Url) -> None:
        if url.scheme != self._scheme:
            raise unfetchable("scheme_not_allowed", f"expected {self._scheme}")
        if not allowed(url, self._hosts):
            raise unfetchable("host_not_allowed", "the settings allow neither this host nor this port")

    def _connected(self, url: Url, deadline: _Deadline) -> socket.socket:
        """A connection to one of the host's addresses, which are all checked before."""
        try:
            answers = self._resolve(url.host, url.port)
        except (OSError, UnicodeError):
            raise _PassingError("unreachable", f"{url}: the host has no address") from None
        addresses = checked(answers, private=allowed(url, self._settings.private_hosts))[:MOST_ADDRESSES]
        for number, address in enumerate(addresses):
            try:
                plain = self._connect(str(address), url.port, deadline.left() / (len(addresses) - number))
            except OSError:
                continue
            plain.settimeout(deadline.left())
            return self._secured(plain, url) if url.scheme == "https" else plain
        deadline.left()
        raise _PassingError("unreachable", f"{url}: no connection")

    def _secured(self, plain: socket.socket, url: Url) -> socket.socket:
        """TLS with the name that was asked for, whatever address it has."""
        with plain:  # detached where it became a part of the other, closed where it did not
            try:
                return self._tls.wrap_socket(plain, server_hostname=url.host, suppress_ragged_eofs=False)
            except (TimeoutError, ssl.SSLEOFError):
                raise
            except ssl.SSLError as error:
                raise unfetchable("tls", f"{url}: {error.reason or 'no TLS'}") from None


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


def open_http(scheme: str, settings: FetchSettings) -> HttpFetcher:
    """The fetcher of references of this scheme. Raises SettingsError for settings of a store, and for a file of authorities that is none."""
    for name in ("endpoint", "credentials"):
        if getattr(settings, name) is not None:
            raise SettingsError(f"settings: fetch.{scheme}.{name}: a reference of this scheme says itself where it is")
    return HttpFetcher(settings, scheme=scheme, hosts=settings.hosts, tls=trust(scheme, settings))


def trust(scheme: str, settings: FetchSettings) -> ssl.SSLContext:
    """Whom TLS connections trust: `ca_file`, else the system's authorities. Raises SettingsError where that file cannot be read."""
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        told = f"settings: fetch.{scheme}.ca_file: cannot read {settings.ca_file!r} as certificates in PEM form"
        raise SettingsError(f"{told}: {error.strerror or 'no certificate in it'}") from None


class _PassingError(ItemError):
    """A fault that may be gone at the next try, after `wait` seconds; `asked` is whether a request was made, `busy` whether it counts against the host."""

    def __init__(self, cause: str, message: str, *, wait: float = 0.0, asked: bool = True, busy: bool = True) -> None:
        super().__init__(UNFETCHABLE, message, cause=cause)
        self.wait, self.asked, self.busy = wait, asked, busy


class _Deadline:
    """The time that is left for everything together."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def rest(self) -> float:
        return self._end - time.monotonic()

    def left(self) -> float:
        """Seconds, more than none. Raises ItemError with cause `too_slow` where there are none."""
        rest = self.rest
        if rest <= 0:
            raise _too_slow()
        return rest


class _Timed(io.RawIOBase):
    """What a connection sends, each piece waited for as long as there is time for all: one that drips gains nothing by it."""

    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self._connection, self._deadline = connection, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._deadline.left())
        return self._connection.recv_into(buffer)


def _request(url: Url, headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in {"Host": url.authority, **_FIXED, **headers}.items()]
    return "\r\n".join([f"GET {url.target} HTTP/1.1", *lines, "", ""]).encode("ascii")


def _next(url: Url, location: str) -> Url:
    """Where a redirect leads: looked at as strictly as any reference, and asked of the same scheme alone."""
    if not location or not location.isascii() or not location.isprintable():
        raise unfetchable("wrong_redirect", f"{url}: a redirect to no address")
    return read_url(urljoin(f"{url}{url.target}", location))


def _body(url: Url, answer: HTTPResponse, most: int, deadline: _Deadline) -> bytes:
    """The content of an answer, as it came: what would have to be unpacked is refused, for it may be any size."""
    _check_status(url, answer, deadline)
    packed = {answer.headers.get("Content-Encoding", "identity").lower(), answer.headers.get("Transfer-Encoding", "chunked").lower()}  # fmt: skip
    if packed - {"identity", "chunked"}:
        raise unfetchable("packed", f"{url}: the answer is compressed, which was not asked for")
    content = answer.read(most + 1) if (answer.length or 0) <= most else b""
    if len(content) > most or (answer.length or 0) > most:
        raise unfetchable("too_many_bytes", f"{url}: more than {most} bytes")
    if answer.length:
        raise _PassingError("broken_answer", f"{url}: the answer broke off")
    return content


def _check_status(url: Url, answer: HTTPResponse, deadline: _Deadline) -> None:
    status = answer.status
    if status == 200:
        return
    message = f"{url}: status {status}"
    if status in _BUSY:
        wait = retry_after(answer.headers.get("Retry-After", ""))
        if wait >= deadline.rest:
            raise _PassingError("retry_later", f"{message}, to be asked again in {wait:.0f} s: too late", wait=wait)
        raise _PassingError("server_fault", message, wait=wait)
    if status >= 500:  # what one path makes of a host must not keep others from it
        raise _PassingError("server_fault", message, busy=False)
    causes = {401: "denied", 403: "denied", 404: "not_found", 410: "not_found"}
    raise unfetchable(causes.get(status, "wrong_status"), message)


def _is_no_fault_of_the_host(error: BaseException) -> bool:
    return isinstance(error, ItemError) and not (isinstance(error, _PassingError) and error.busy)


def _too_slow() -> ItemError:
    return _PassingError("too_slow", "no answer in time")
