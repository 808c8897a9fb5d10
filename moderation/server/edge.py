"""What every request passes before the app: an id, a key, a body that is read within bounds, and an eye on whether the caller is still there.

Plain ASGI: a framework's own middleware hides from the app that a caller went away.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from moderation.errors import OverloadedError
from moderation.sections import ServeSettings
from moderation.server.errors import AGAIN, LIMITED, OURS, ApiError, denied, overloaded
from moderation.server.fair import room
from moderation.server.in_force import Keys
from moderation.server.pulse import Pulse
from moderation.telemetry import REQUEST, places

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Told = Callable[[str, int, float], None]

OPEN = frozenset({"/healthz", "/readyz", "/metrics"})  # answered without a key
GONE = 499  # the status of a caller that was not answered, since it went away
ANYBODY = ""  # the caller where no keys are set
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
SECURE = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
_log = logging.getLogger(__name__)
_LONGEST = 600.0  # seconds that a caller may name as its deadline
_WATCHED = 0.001  # seconds from which on it is seen that a caller goes away
_BEHIND = 0.2  # of a request's time: where more is gone before anybody looked at it, it is refused before it is read, which is cheap


class Edge:
    """The app behind its checks. `told` hears of every answer: its route, one of `routes`, its status and seconds; `cut` is to hear why a connection is cut.

    `keys` are those that count now, None where everybody is answered; without it, those of the settings.
    """

    def __init__(
        self,
        app: App,
        settings: ServeSettings,
        *,
        routes: Collection[str] = (),
        told: Told = lambda *_: None,
        cut: Callable[[str], object] = lambda _: None,
        keys: Callable[[], Keys] | None = None,
    ) -> None:
        self.cut = cut
        self._app, self._settings, self._told, self._routes = app, settings, told, {*routes, *OPEN}
        self._keys = keys or (lambda: settings.keys or None)
        self._pulse = Pulse()
        self._held = Counter[str]()  # bytes of the bodies of all requests that are not answered, by caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if root := scope.get("root_path"):  # a proxy's prefix, which our routes know nothing of
            scope = {**scope, "path": scope["path"].removeprefix(root), "root_path": ""}
        began, status = time.monotonic(), GONE
        headers = dict(reversed(scope["headers"]))
        scope.setdefault("state", {})["id"] = id_ = _id(headers)
        own = [(b"x-request-id", id_), *SECURE]

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            await self._let_in(scope, headers, began, receive, answer)
        except ApiError as error:
            if status == GONE:
                await respond(answer, error.status, error.body, error.headers)
        except Exception as error:
            if status == GONE:
                told = {REQUEST: id_.decode(), **places(error)}
                _log.error("not answered: %s", type(error).__name__, extra={"told": told})
                raise
        finally:
            self._told(self._route(scope), status, time.monotonic() - began)

    async def _let_in(
        self, scope: Scope, headers: Mapping[bytes, bytes], began: float, receive: Receive, send: Send
    ) -> None:
        """Answer who may ask. Raises ApiError for who may not, and where the server ends and waits no longer."""
        state = scope["state"]
        try:
            if scope["path"] in OPEN:  # without a key: nothing of it is held
                await self._answered(scope, bytearray(), receive, send)
                return
            if state.get("crowded"):
                more = {**AGAIN, "connection": "close"}
                raise ApiError(503, "too_many_connections", "too many are in work", kind=OURS, headers=more)
            state["caller"], seconds = self._caller(headers), self._seconds(headers)
            state["whole"], state["deadline"] = seconds, began + seconds - self._behind(seconds)
            await self._held_open(scope, headers, receive, send)
        except asyncio.CancelledError:
            raise ApiError(503, "stopping", "the server was told to stop", kind=OURS, headers=AGAIN) from None

    def _route(self, scope: Scope) -> str:
        """The route's own path, never what a caller wrote: a metric must not have as many names as callers invent."""
        path = getattr(scope.get("route"), "path", "") or scope["path"]
        return path if path in self._routes else "other"

    def _caller(self, headers: Mapping[bytes, bytes]) -> str:
        """Whose key it is. Every key is compared, each in constant time, so that no time tells of any."""
        keys = self._keys()
        if keys is None:
            return ANYBODY
        kind, _, key = headers.get(b"authorization", b"").partition(b" ")
        digest = hashlib.sha256(key.strip()).hexdigest()
        whose = [name for name, known in keys.items() if hmac.compare_digest(known.sha256, digest)]
        if kind.lower() != b"bearer" or not whose:
            raise denied(missing=b"authorization" not in headers)
        return whose[0]

    def _seconds(self, headers: Mapping[bytes, bytes]) -> float:
        """The time that a request has, by its header or the settings."""
        given = headers.get(b"x-deadline-ms")
        if given is None:
            return self._settings.deadline_seconds
        if not re.fullmatch(rb"[0-9]{1,6}", given) or not 0 < int(given) <= 1000 * _LONGEST:
            raise ApiError(
                400, "invalid_deadline", f"x-deadline-ms: expected 1 to {1000 * _LONGEST:.0f}", param="x-deadline-ms"
            )
        return int(given) / 1000

    def _behind(self, seconds: float) -> float:
        """What is gone of a request's time already. Raises ApiError where it is too much: reading what cannot be in time would make it more."""
        behind = self._pulse.behind()
        if behind > _BEHIND * seconds:
            raise overloaded(OverloadedError(f"{behind:.2f} s behind with answering", after_seconds=2 * behind))
        return behind

    async def _held_open(self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive, send: Send) -> None:
        """Read the body, then answer, unless the caller goes away meanwhile."""
        caller: str = scope["state"]["caller"]
        body, size = bytearray(), 0  # whoever reads the body empties it: it counts until it is answered, all the same
        try:
            try:
                async with asyncio.timeout(self._settings.read_seconds):
                    whole = await self._read(body, caller, headers, receive)
            except TimeoutError:
                seconds = self._settings.read_seconds
                raise ApiError(408, "too_slow", f"the body did not arrive within {seconds:g} s") from None
            finally:
                size = len(body)
            if whole:
                await self._answered(scope, body, receive, send)
        finally:
            self._held[caller] -= size

    async def _read(self, body: bytearray, caller: str, headers: Mapping[bytes, bytes], receive: Receive) -> bool:
        """Whether the whole body came, within the bounds; else the caller is gone. Raises ApiError beyond the bounds."""
        told = headers.get(b"content-length", b"0")
        self._check(caller, int(told) if told.isdigit() else 0)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            piece = message.get("body", b"")
            self._check(caller, len(body) + len(piece), len(body), len(piece))
            self._held[caller] += len(piece)
            body += piece
            if not message.get("more_body", False):
                return True

    def _check(self, caller: str, size: int, read: int = 0, more: int = 0) -> None:
        """Raises ApiError for a body that has, or will have, too many bytes, or of which so many more than were read are too many beside all others."""
        most = self._settings.body_bytes
        if size > most:
            raise ApiError(413, "body_too_large", f"the body is too large; expected at most {most} bytes")
        own = self._held[caller] - read
        several = len(self._keys() or ()) > 1  # a caller's lone body may be as large as any
        if not room(most=self._settings.bodies_bytes, held=self._held.total(), own=own, new=more, several=several):
            raise ApiError(429, "overloaded", "refused: too many bytes are in work", kind=LIMITED, headers=AGAIN)

    async def _answered(self, scope: Scope, body: bytearray, receive: Receive, send: Send) -> None:
        """Answer, unless the caller goes away meanwhile: then the answering is cancelled."""
        answering, given, over, gone = asyncio.current_task(), False, False, False

        async def again() -> Message:
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        async def told(message: Message) -> None:
            nonlocal over
            over = over or (message["type"] == "http.response.body" and not message.get("more_body"))
            await send(message)

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if answering and not over:
                gone = True
                answering.cancel()

        watching: list[asyncio.Task[None]] = []
        loop = asyncio.get_running_loop()
        soon = loop.call_later(_WATCHED, lambda: watching.append(asyncio.ensure_future(watch())))
        try:
            await self._app(scope, again, told)
        except asyncio.CancelledError:
            if not (gone and answering):  # it is the server that ends, not the caller who went
                raise
            answering.uncancel()
        finally:
            soon.cancel()  # what is answered at once, as a refusal is, needs no watch, and the device begins without waiting for one
            for one in watching:
                one.cancel()


def _id(headers: Mapping[bytes, bytes]) -> bytes:
    """The request's id: what its caller calls it, where that can do no harm in a header or a log, else one of ours."""
    given = headers.get(b"x-request-id", b"")
    return given if _ID.fullmatch(given) else b"%032x" % random.getrandbits(128)


async def respond(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Answer with JSON."""
    own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    own += [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body})
