"""One guarded GET: an allowed host, an address that was checked (`dial.py`), few bytes, little time; nothing is unpacked."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.client import HTTPException, HTTPResponse
from urllib.parse import urljoin

from moderation.breaker import Breaker, Breakers, RestingError
from moderation.errors import ItemError, SettingsError
from moderation.fetcher.dial import (
    Connect,
    Deadline,
    Dialer,
    PassingError,
    Resolve,
    answer,
    connect,
    passing,
    request,
    resolve,
    retry_after,
)
from moderation.fetcher.url import Url, allowed, read_url
from moderation.item import unfetchable
from moderation.sections import FetchSettings

REDIRECTS = frozenset({301, 302, 303, 307, 308})
PAUSE = 0.1  # seconds before the second try, doubling, give or take half
FAILURES = 5  # of a host in a row, after which it is left alone for a while
_BUSY = frozenset({429, 503})  # with these a host says that it has too much to do
_FIXED = {"User-Agent": "moderation", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}

Headers = Callable[[Url], Mapping[str, str]]


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
        self._settings, self._scheme = settings, scheme
        self._hosts = (*hosts, *settings.private_hosts)
        self._dialer = Dialer(tls, private=settings.private_hosts, resolve=resolve, connect=connect)
        self._breakers = breakers or Breakers(partial(Breaker, failures=FAILURES))

    def fetch(self, reference: str) -> bytes:
        """The content at an address. Raises ItemError, `unfetchable`."""
        return self.get(read_url(reference))

    def get(self, url: Url, headers: Headers = lambda _: {}) -> bytes:
        """The content at an address, asked for again after faults that pass, as late as the host wishes and the time of one fetch allows.

        `headers` are made anew for each request.
        """
        deadline, tries = Deadline(self._settings.timeout_seconds), 0
        while True:
            try:
                return self._follow(url, headers, deadline)
            except PassingError as error:
                tries += error.asked
                pause = error.wait + PAUSE * 2 ** max(0, tries - 1) * random.uniform(0.5, 1.5)
                if tries == self._settings.tries or pause >= deadline.rest:
                    raise
                time.sleep(pause)

    def _follow(self, url: Url, headers: Headers, deadline: Deadline) -> bytes:
        for _ in range(self._settings.redirects + 1):
            found = self._ask(url, headers(url), deadline)
            if isinstance(found, bytes):
                return found
            url = found
        raise unfetchable("redirected", f"more than {self._settings.redirects} redirects")

    def _ask(self, url: Url, headers: Mapping[str, str], deadline: Deadline) -> bytes | Url:
        """One request, unless the host failed too often just now: the content, or where it is said to be."""
        self._allow(url)
        try:
            with self._breakers.of(url.authority).watch(spares=_is_no_fault_of_the_host):
                return self._answer(url, headers, deadline)
        except RestingError as resting:
            told = f"{url}: the host failed {FAILURES} times in a row, and is left alone for a while"
            raise PassingError("host_resting", told, wait=resting.seconds, asked=False) from None

    def _answer(self, url: Url, headers: Mapping[str, str], deadline: Deadline) -> bytes | Url:
        try:
            with self._dialer.dial(url, deadline) as connection:
                connection.sendall(request("GET", url, {**_FIXED, **headers}))
                found = answer(connection, "GET", deadline)
                if found.status in REDIRECTS:
                    return _next(url, found.headers.get("Location", ""))
                return _body(url, found, self._settings.max_bytes, deadline)
        except (OSError, HTTPException) as error:
            raise passing(error, url) from None

    def _allow(self, url: Url) -> None:
        if url.scheme != self._scheme:
            raise unfetchable("scheme_not_allowed", f"expected {self._scheme}")
        if not allowed(url, self._hosts):
            raise unfetchable("host_not_allowed", "the settings allow neither this host nor this port")


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


def _next(url: Url, location: str) -> Url:
    """Where a redirect leads: looked at as strictly as any reference, and asked of the same scheme alone."""
    if not location or not location.isascii() or not location.isprintable():
        raise unfetchable("wrong_redirect", f"{url}: a redirect to no address")
    return read_url(urljoin(f"{url}{url.target}", location))


def _body(url: Url, answer: HTTPResponse, most: int, deadline: Deadline) -> bytes:
    """The content of an answer, as it came: what would have to be unpacked is refused, for it may be any size."""
    _check_status(url, answer, deadline)
    packed = {answer.headers.get("Content-Encoding", "identity").lower(), answer.headers.get("Transfer-Encoding", "chunked").lower()}  # fmt: skip
    if packed - {"identity", "chunked"}:
        raise unfetchable("packed", f"{url}: the answer is compressed, which was not asked for")
    content = answer.read(most + 1) if (answer.length or 0) <= most else b""
    if len(content) > most or (answer.length or 0) > most:
        raise unfetchable("too_many_bytes", f"{url}: more than {most} bytes")
    if answer.length:
        raise PassingError("broken_answer", f"{url}: the answer broke off")
    return content


def _check_status(url: Url, answer: HTTPResponse, deadline: Deadline) -> None:
    status = answer.status
    if status == 200:
        return
    message = f"{url}: status {status}"
    if status in _BUSY:
        wait = retry_after(answer.headers.get("Retry-After", ""))
        if wait >= deadline.rest:
            raise PassingError("retry_later", f"{message}, to be asked again in {wait:.0f} s: too late", wait=wait)
        raise PassingError("server_fault", message, wait=wait)
    if status >= 500:  # what one path makes of a host must not keep others from it
        raise PassingError("server_fault", message, busy=False)
    causes = {401: "denied", 403: "denied", 404: "not_found", 410: "not_found"}
    raise unfetchable(causes.get(status, "wrong_status"), message)


def _is_no_fault_of_the_host(error: BaseException) -> bool:
    return isinstance(error, ItemError) and not (isinstance(error, PassingError) and error.busy)
