"""The routes that are asked all the time, answered without the framework: it takes longer to find a route than these take to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moderation.item import is_utf8
from moderation.policy.json_source import DuplicateKeyError, holds_more_values, place_of, read_json
from moderation.server.edge import App, Message, Receive, Scope, Send, respond
from moderation.server.errors import ApiError
from moderation.server.handlers import told
from moderation.server.posts import POSTS, Call, Post, Served

MOST_VALUES = 50_000  # of a body: reading so many keeps everybody else waiting for some 10 ms
_JSON = b"application/json"
_NO_MORE: Mapping[str, str] = {}


class Direct:
    """Answers POSTS; all else goes to `app`. Stands behind `Edge`, which says who asks and holds the body."""

    def __init__(self, app: App, served: Served) -> None:
        self._app, self._served = app, served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        post = POSTS.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if post is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = post
        status, headers = 200, _NO_MORE
        try:
            message = await receive()
            call = Call(self._served, *(scope["state"][one] for one in ("caller", "deadline", "whole")))
            answer = await post.answer(call, _read(post, scope, message))
        except Exception as error:  # noqa: BLE001 - each has its answer
            answer, status, headers = _refusal(error, scope["state"]["id"])
        await respond(send, status, answer, headers)


def _refusal(error: Exception, id_: bytes) -> tuple[bytes, int, Mapping[str, str]]:
    """What is answered instead. In a frame of its own: one that the error went through and that holds it is a circle, for the collector of garbage to find."""
    wrong = told(error, id_)
    return wrong.body, wrong.status, wrong.headers


def _read(post: Post, scope: Scope, message: Message) -> Any:
    """What the body says, read as strictly as on the stream: of a key that stands twice, readers would judge different texts."""
    kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    if kind.partition(b";")[0].strip().lower() != _JSON:
        raise ApiError(415, "unsupported_media_type", "send content-type: application/json")
    body: bytearray = message["body"]
    if not body:
        raise ApiError(400, "missing", "the body is empty; expected JSON")
    if holds_more_values(body, MOST_VALUES):
        raise ApiError(400, "too_many_values", f"the body holds more than {MOST_VALUES} values")
    try:
        value = read_json(body)
    except DuplicateKeyError:
        raise ApiError(400, "duplicate_key", "a key stands twice in one object") from None
    except ValueError as error:
        if any(name == b"content-encoding" for name, _ in scope["headers"]):
            raise ApiError(415, "unsupported_encoding", "send the body as it is, without content-encoding") from None
        raise ApiError(400, "invalid_json", f"the body is no JSON in UTF-8: {place_of(error)}") from None
    if b"\\u" in body and not is_utf8(value):
        raise ApiError(400, "not_utf8", "a string holds half a surrogate pair")
    body.clear()  # what was read of it is there, and may wait for long
    return post.body.validate_python(value)
