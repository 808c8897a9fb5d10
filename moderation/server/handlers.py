"""Whatever goes wrong in a route, as OpenAI's clients read it: no content, no traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from moderation.errors import ModerationError
from moderation.server.errors import OURS, ApiError, api_error

_log = logging.getLogger(__name__)

_ERROR = {
    "application/json": {
        "example": {"error": {"message": "...", "type": "invalid_request_error", "param": None, "code": "..."}}
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request is wrong.", "content": _ERROR},
    401: {"description": "No key, or an unknown one.", "content": _ERROR},
    404: {"description": "There is no such model.", "content": _ERROR},
    408: {"description": "The body did not arrive in time.", "content": _ERROR},
    413: {"description": "The body is too large.", "content": _ERROR},
    429: {"description": "It could not be answered in time; Retry-After says when to come again.", "content": _ERROR},
    503: {"description": "Not ready.", "content": _ERROR},
}


def handle_errors(app: FastAPI) -> None:
    """Answer errors of all kinds in one shape."""
    app.exception_handler(ApiError)(_told)
    app.exception_handler(ModerationError)(_told_ours)
    app.exception_handler(RequestValidationError)(_told_wrong)
    app.exception_handler(HTTPException)(_told_http)
    app.exception_handler(Exception)(_told_nobody_foresaw)


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - as it is registered
    return Response(error.body, error.status, headers=error.headers, media_type="application/json")


async def _told_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ModerationError)  # noqa: S101 - as it is registered
    return await _told(request, api_error(error))


async def _told_wrong(request: Request, error: Exception) -> Response:
    """The first thing that is wrong with a body, without its content."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as it is registered
    first: Mapping[str, Any] = error.errors()[0]
    place = ".".join(str(one) for one in first["loc"][1:])
    if first["type"] == "json_invalid":
        return await _told(request, ApiError(400, "invalid_json", "the body is no JSON"))
    return await _told(request, ApiError(400, first["type"], f"{place or 'body'}: {first['msg']}", param=place or None))


async def _told_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    return await _told(request, ApiError(error.status_code, code, str(error.detail), headers=dict(error.headers or {})))


async def _told_nobody_foresaw(request: Request, error: Exception) -> Response:
    _log.error("not foreseen: %s", type(error).__name__)  # no more: a message may hold content
    return await _told(request, ApiError(500, "internal", "something failed here; nothing was decided", kind=OURS))
