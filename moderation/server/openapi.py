"""What the server says of itself: the framework's document of the routes, made true. A test asks a real server whether it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from moderation.decision_schema import SHARE, json_schema
from moderation.server.edge import OPEN

_TEXT, _TRUTH, _NUMBER, _COUNT = ({"type": one} for one in ("string", "boolean", "number", "integer"))
_ERROR = "#/components/schemas/Error"
_REFUSED = {
    400: "The request is wrong.",
    401: "No key, or an unknown one.",
    404: "There is no such model.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body's content-type is not application/json, or it is compressed.",
    429: "It could not be answered in time; Retry-After says when to come again.",
    503: "The encoder fails, too many connections are in work, or the server stops; nothing was decided.",
}
_ANYWHERE = (400, 401, 408, 413, 429, 503)  # where a key is asked for
_MORE = {
    "/v1/moderations": (404, 415),
    "/v1/embeddings": (404, 415),
    "/v1/decisions": (415,),
    "/v1/classify": (404, 415),
    "/v1/models/{name}": (404,),
}
_AGAIN = {
    "Retry-After": {"description": "Seconds after which to come again.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "retry-after-ms": {"description": "The same in milliseconds.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
}  # fmt: skip
_DEADLINE = {
    "name": "x-deadline-ms",
    "in": "header",
    "required": False,
    "description": "Milliseconds that the answer may take; what could not be in time is refused at once.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 600_000},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the app: statuses, types and shapes of every answer, errors included."""
    made = FastAPI.openapi(app)
    for path, methods in made["paths"].items():
        for told in methods.values():
            told["responses"] = _health(path) if path in OPEN else _answers(path)
            told.update({"security": []} if path in OPEN else {"parameters": [*told.get("parameters", ()), _DEADLINE]})
    kinds = made["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        kinds.pop(unused, None)
    kinds |= {
        "Error": _object(error=_object(message=_TEXT, type=_TEXT, param=_or_none(_TEXT), code=_TEXT)),
        **_decision(),
    }
    made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    made["security"] = [{"key": []}]
    return made


def _answers(path: str) -> dict[str, Any]:
    refused = {str(one): _answer(_REFUSED[one], {"$ref": _ERROR}) for one in (*_ANYWHERE, *_MORE.get(path, ()))}
    refused["429"]["headers"] = _AGAIN
    return {"200": _answer("The answer.", _shapes()[path]), **dict(sorted(refused.items()))}


def _health(path: str) -> dict[str, Any]:
    if path == "/metrics":
        told = {"description": "For Prometheus.", "content": {CONTENT_TYPE_LATEST: {"schema": _TEXT}}}
        return {"200": told}
    states = {"200": "Yes.", "503": "No."}
    return {status: _answer(words, _object(state=_TEXT)) for status, words in states.items()}


def _answer(words: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": words, "content": {"application/json": {"schema": shape}}}


def _shapes() -> dict[str, dict[str, Any]]:
    """What is answered with 200, by route."""
    decision = {"$ref": "#/components/schemas/Decision"}
    result = _object(
        flagged=_TRUTH, categories=_map(_TRUTH), category_scores=_map({**_NUMBER, **SHARE}),
        category_applied_input_types=_map(_list(_TEXT)), judged=_TRUTH, decision=decision,
    )  # fmt: skip
    embedding = _object(object=_one("embedding"), index=_COUNT, embedding={"anyOf": [_list(_NUMBER), _TEXT]})
    score = _object(text=_TEXT, similarity=_NUMBER, probability={**_NUMBER, **SHARE})
    classified = _object(object=_one("classification"), index=_COUNT, scores=_list(score))
    texts = ("id", "version", "revision", "status", "severity", "encoder")
    policy = _object(
        object=_one("policy"), modalities=_list(_TEXT), actions=_list(_TEXT), **dict.fromkeys(texts, _TEXT)
    )
    model = _object(id=_TEXT, object=_one("model"), created=_COUNT, owned_by=_TEXT)
    used = _object(prompt_tokens=_COUNT, total_tokens=_COUNT)
    listed = _one("list")
    return {
        "/v1/moderations": _object(id=_TEXT, model=_TEXT, results=_list(result)),
        "/v1/embeddings": _object(object=listed, data=_list(embedding), model=_TEXT, usage=used),
        "/v1/decisions": _object(decisions=_list(decision)),
        "/v1/classify": _object(object=listed, model=_TEXT, data=_list(classified)),
        "/v1/policies": _object(object=listed, data=_list(policy)),
        "/v1/models": _object(object=listed, data=_list(model)),
        "/v1/models/{name}": model,
    }


def _decision() -> dict[str, Any]:
    """The published schema of a decision, and the kinds in it, where OpenAPI's references find them."""
    told = json_schema()
    kinds = {"Decision": told, **told.pop("$defs")}
    for one in ("$schema", "$id"):
        told.pop(one)
    moved: dict[str, Any] = json.loads(json.dumps(kinds).replace("#/$defs/", "#/components/schemas/"))
    return moved


def _object(**fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _map(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": of}


def _list(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _one(value: str) -> dict[str, Any]:
    return {"const": value}


def _or_none(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [of, {"type": "null"}]}
