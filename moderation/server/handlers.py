"""Whatever goes wrong in a route, as OpenAI's clients read it: no content, no traceback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as AnyHTTPException

from moderation.errors import ModerationError
from moderation.item import is_utf8
from moderation.policy.json_source import DuplicateKeyError, read_json
from moderation.server.errors import OURS, ApiError, api_error

_log = logging.getLogger(__name__)


class StrictRequest(Request):
    """A request whose JSON is read as on the stream: of a key that stands twice, readers would judge different texts."""

    async def json(self) -> Any:
        """The body's value. Raises HTTPException, which is what the framework lets through."""
        body = await self.body()
        try:
            value = read_json(body)
        except DuplicateKeyError:
            raise _refused("duplicate_key", "a key stands twice in one object") from None
        except ValueError:
            raise _refused("invalid_json", "the body is no JSON in UTF-8") from None
        if b"\\u" in body and not is_utf8(value):
            raise _refused("not_utf8", "a string holds half a surrogate pair")
        return value


def _refused(code: str, message: str) -> HTTPException:
    return HTTPException(400, {"code": code, "message": message})


class StrictRoute(APIRoute):
    """A route that reads strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's own, on a strict request."""
        answer = super().get_route_handler()

        async def strict(request: Request) -> Response:
            kind = request.headers.get("content-type", "")
            if request.method == "POST" and kind.partition(";")[0].strip().lower() != "application/json":
                raise HTTPException(
                    415, {"code": "unsupported_media_type", "message": "send content-type: application/json"}
                )
            return await answer(StrictRequest(request.scope, request.receive))

        return strict


def handle_errors(app: FastAPI) -> None:
    """Answer errors of all kinds in one shape."""
    app.exception_handler(ApiError)(_told)
    app.exception_handler(ModerationError)(_told_ours)
    app.exception_handler(RequestValidationError)(_told_wrong)
    app.exception_handler(AnyHTTPException)(_told_http)
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
    unknown = first["type"] == "extra_forbidden"  # its name is the caller's own, and may be content
    place = ".".join(str(one) for one in first["loc"][1 : -1 if unknown else None] if _is_ours(one))
    message = "unknown key" if unknown else first["msg"]
    if first["type"] == "union_tag_invalid":  # the framework's words quote what came
        message = f"expected {first['ctx']['discriminator']} to be one of {first['ctx']['expected_tags']}"
    return await _told(request, ApiError(400, first["type"], f"{place or 'body'}: {message}", param=place or None))


def _is_ours(name: int | str) -> bool:
    """Whether it is a key of a shape or a place in a list, not what the validator calls a branch."""
    return isinstance(name, int) or (name.islower() and name.replace("_", "").isalpha())


async def _told_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnyHTTPException)  # noqa: S101 - as it is registered
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
    detail: Any = error.detail
    told = detail if isinstance(detail, dict) else {"code": code, "message": str(detail)}
    return await _told(request, ApiError(error.status_code, **told, headers=dict(error.headers or {})))


async def _told_nobody_foresaw(request: Request, error: Exception) -> Response:
    _log.error("not foreseen: %s", type(error).__name__)  # no more: a message may hold content
    return await _told(request, ApiError(500, "internal", "something failed here; nothing was decided", kind=OURS))
