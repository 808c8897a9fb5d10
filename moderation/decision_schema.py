"""The JSON Schema of a decision as it is published: every field is there, and a reader must expect that later versions add some."""

from __future__ import annotations

import inspect
from typing import Any

from pydantic import TypeAdapter

from moderation.decision import Decision, Outcome, Severity, Timing, Verdict

SHARE = {"minimum": 0, "maximum": 1}
_KINDS = {one.__name__: one for one in (Outcome, Severity, Timing, Verdict)}
# What the types do not tell.
_LIMITS: dict[str, dict[str, Any]] = {
    "score": SHARE,
    "calibrated": SHARE,
    "decode": {"minimum": 0},
    "encode": {"minimum": 0},
    "detect": {"minimum": 0},
    "read": {"minimum": 0},
    "region": {"prefixItems": [{"type": "number", **SHARE}] * 4},
    "limit": {"enum": ["rollout", "quota"]},
    "status": {"enum": ["draft", "shadow", "live", "deprecated"]},
}


def json_schema() -> dict[str, Any]:
    """The schema, as plain values."""
    made = TypeAdapter(Decision).json_schema(mode="serialization")
    kinds = made.pop("$defs")
    told = {name: _exact(kind, _KINDS[name]) for name, kind in sorted(kinds.items())}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:moderation:decision:v1"}
    return {**head, **_exact(made, Decision), "$defs": told}


def _exact(kind: dict[str, Any], described: type) -> dict[str, Any]:
    """One object as it is written: every key, no defaults, no titles; limits where there are some."""
    plain = {name: value for name, value in kind.items() if name not in {"title", "description"}}
    plain = {"description": inspect.getdoc(described), **plain}  # pydantic tells it from some version on
    if "properties" not in kind:
        return plain
    fields = {name: _field(name, value) for name, value in kind["properties"].items()}
    return {**plain, "properties": fields, "required": list(fields)}


def _field(name: str, value: dict[str, Any]) -> dict[str, Any]:
    plain = {key: one for key, one in value.items() if key not in {"title", "default"}}
    limits = _LIMITS.get(name, {})
    if "anyOf" in plain:
        return {"anyOf": [one if one == {"type": "null"} else {**one, **limits} for one in plain["anyOf"]]}
    return {**plain, **limits}
