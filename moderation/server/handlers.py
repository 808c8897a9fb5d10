"""Whatever goes wrong in a route, as OpenAI's clients read it: no content, no traceback."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from moderation.errors import ModerationError
from moderation.server.errors import OURS, ApiError, api_error
from moderation.server.wire import PART_KINDS
from moderation.telemetry import REQUEST, places

NO_ROUTE = "not_found"
_log = logging.getLogger(__name__)


def told(error: Exception, id_: bytes) -> ApiError:
    """What the caller whose request has this id is told of any error. What is a fault of ours is logged, and names the id."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return _wrong(error)
    if isinstance(error, HTTPException):
        code = {404: NO_ROUTE, 405: "method_not_allowed"}.get(error.status_code, "http_error")
        headers = dict(error.headers or {})
        expected = f"; expected {headers['Allow']}" if "Allow" in headers else ""
        return ApiError(error.status_code, code, f"{error.detail}{expected}", headers=headers)
    if isinstance(error, ModerationError):
        one = api_error(error)
    else:
        one = ApiError(500, "internal", "something failed here; nothing was decided", kind=OURS)
    if one.status >= 500:  # no message: it may hold content
        told_ = {REQUEST: id_.decode(), **places(error)}
        _log.error("answered with %d: %s", one.status, type(error).__name__, extra={"told": told_})
    return one


def handle_errors(app: FastAPI) -> None:
    """Answer errors of all kinds in one shape."""
    for kind in (ApiError, ModerationError, HTTPException, Exception):
        app.exception_handler(kind)(_answered)


async def _answered(request: Request, error: Exception) -> Response:
    one = told(error, request.state.id)
    if one.code == NO_ROUTE:
        one.message = _no_route(request.url.path, [str(getattr(route, "path", "")) for route in request.app.routes])
    return Response(one.body, one.status, headers=one.headers, media_type="application/json")


def _no_route(path: str, routes: Collection[str]) -> str:
    """Where the routes are; the path that was asked for is named only where it is nearly one of them."""
    meant = next((one for one in (f"/v1{path}", path.removeprefix("/v1"), path.rstrip("/")) if one in routes), None)
    hint = f"did you mean {meant}? a client's base_url ends in /v1, once" if meant else "/openapi.json tells them all"
    return (
        f"there is no such route; expected one of {', '.join(sorted(one for one in routes if '/v1/' in one))}; {hint}"
    )


def _wrong(error: ValidationError) -> ApiError:
    """The first thing that is wrong with a body, without its content."""
    first: Mapping[str, Any] = error.errors(include_url=False)[0]
    unknown = first["type"] == "extra_forbidden"  # its name is the caller's own, and may be content
    place = ".".join(map(str, _place(first["loc"][: -1 if unknown else None])))
    message = "unknown key" if unknown else first["msg"]
    if first["type"] == "union_tag_invalid":  # the framework's words quote what came
        message = f"expected {first['ctx']['discriminator']} to be one of {first['ctx']['expected_tags']}"
    return ApiError(400, first["type"], f"{place or 'body'}: {message}", param=place or None)


def _place(loc: Sequence[int | str]) -> list[int | str]:
    """Keys of a shape and places in lists, without what the validator calls a branch, as is the kind of a part behind its place."""
    behind = zip((None, *loc), loc, strict=False)
    return [one for before, one in behind if _is_ours(one) and not (isinstance(before, int) and one in PART_KINDS)]


def _is_ours(name: int | str) -> bool:
    """Whether it is a key of a shape or a place in a list, not what the validator calls a branch."""
    return isinstance(name, int) or (name.islower() and name.replace("_", "").isalpha())
