"""Errors as OpenAI's clients read them: an object with a message, a type, the parameter and a code that is a string."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from pydantic_core import to_json

from moderation.errors import EncoderError, ItemError, ModerationError, OverloadedError

INVALID, DENIED, LIMITED, OURS = "invalid_request_error", "authentication_error", "rate_limit_error", "server_error"
AGAIN = {"retry-after-ms": "1000", "retry-after": "1"}  # headers of who may come again soon, where nobody knows when
_OBEYED = 120.0  # seconds: clients obey no longer ones
_SPREAD = 0.2  # of what a refused caller is told, either way, so that they do not all come back at once


class ApiError(Exception):
    """An answer other than 200; the message quotes no content."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.kind, self.param = status, code, message, kind, param
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The JSON of the error."""
        told = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return to_json({"error": told})


def api_error(error: ModerationError, *, param: str | None = None) -> ApiError:
    """What a caller is told of one of our errors."""
    if isinstance(error, OverloadedError):
        return overloaded(error)
    if isinstance(error, ItemError):
        return ApiError(400, error.cause or error.reason, str(error), param=param)
    if isinstance(error, EncoderError):
        return ApiError(503, "encoder_failed", "the encoder fails; nothing was decided", kind=OURS)
    return ApiError(500, error.code, "something failed here; nothing was decided", kind=OURS)


def denied(*, missing: bool = False) -> ApiError:
    """401: who asks has an unknown key, or none."""
    expected = "expected a key: Authorization: Bearer KEY"
    code, message = ("missing_api_key", expected) if missing else ("invalid_api_key", "this key is not known")
    return ApiError(401, code, message, kind=DENIED, headers={"www-authenticate": "Bearer"})


def overloaded(error: OverloadedError) -> ApiError:
    """429, with the time after which the caller may come again in both headers that clients obey."""
    seconds = min(_OBEYED, error.after_seconds * random.uniform(1 - _SPREAD, 1 + _SPREAD))
    headers = {"retry-after-ms": str(math.ceil(1000 * seconds)), "retry-after": str(math.ceil(seconds))}
    return ApiError(429, "overloaded", f"refused: {error}", kind=LIMITED, headers=headers)
