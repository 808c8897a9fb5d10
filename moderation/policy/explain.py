"""What the schema refuses, said for the author: which field, what was found, what was expected, and where."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from moderation.errors import Problem
from moderation.meant import did_you_mean, nearest
from moderation.policy.yaml_source import Node

_WANTED = {
    "string_unicode": "a text of characters that UTF-8 can hold",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "date_type": "a day such as 2027-03-01",
    "date_from_datetime_parsing": "a day such as 2027-03-01",
    "is_instance_of": "a path",
    "path_type": "a path",
}
_THRESHOLD = (
    "a threshold is never written: state a guarantee (metric, at_least, confidence) and `moderation policy certify` "
    "finds the threshold that keeps it"
)


def explain(error: ValidationError, node: Node, model: type[BaseModel]) -> Iterator[Problem]:
    """One problem for each thing the model refused, at the key or value in the file."""
    details = error.errors(include_url=False)
    misspelt = {_meant(detail["loc"], model) for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        # A list whose entries were refused counts as too short too; the entries are what is wrong.
        if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
            continue
        if detail["type"] != "missing" or detail["loc"] not in misspelt:
            yield _problem(detail, node, model)


def _meant(keys: tuple[int | str, ...], model: type[BaseModel]) -> tuple[int | str, ...] | None:
    close = nearest(str(keys[-1]), field_names(model, keys[:-1]))
    return None if close is None else (*keys[:-1], close)


def found(value: Any) -> str:
    """A value as the author wrote it, short."""
    names = {dict: "a mapping", tuple: "a list", type(None): "nothing", bool: str(value).lower()}
    if type(value) in names:
        return names[type(value)]
    text = str(value) if isinstance(value, (int, float, dt.date)) else repr(str(value))
    kind = {dt.date: "the day ", int: "the number ", float: "the number "}.get(type(value), "")
    return kind + (text if len(text) <= 60 else text[:57] + "...")


def _problem(detail: Any, node: Node, model: type[BaseModel]) -> Problem:
    keys, where = list(detail["loc"]), node
    for key in keys:
        where = where.child(key) or where
    field, kind = _spelled(keys), detail["type"]
    if kind == "extra_forbidden":
        return _unknown(keys, node, model)
    if kind == "missing":
        return where.problem("P102", f"{field}: is missing{_purpose(model, keys)}")
    if kind == "too_short":
        code, minimum = ("P108", 1) if keys == ["tests"] else ("P103", detail["ctx"]["min_length"])
        return where.problem(code, f"{field}: found too few entries; expected at least {minimum}")
    return where.problem("P103", f"{field}: {_refused(detail)}")


def _spelled(keys: Sequence[int | str]) -> str:
    """A place in the file as people say it: entries of a list count from 1."""
    return ".".join(str(key + 1) if isinstance(key, int) else key for key in keys)


def _refused(detail: Any) -> str:
    value, kind = detail["input"], detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind == "string_type":
        expected = _quote(value, detail["loc"][-1])
    elif kind == "string_pattern_mismatch":
        expected = f"expected {_pattern(detail['ctx']['pattern'])}"
    elif kind in _WANTED:
        expected = f"expected {_WANTED[kind]}"
    else:
        expected = detail["msg"].replace("Input should be ", "expected ").replace("String should", "expected to")
    return f"found {found(value)}; {expected}"


def _quote(value: Any, key: int | str) -> str:
    if key == "version" and isinstance(value, (int, float)):
        return "expected three numbers such as 1.0.0"
    if isinstance(value, dict):
        return "expected a text: quote a text that holds ': '"
    written = str(value).lower() if isinstance(value, bool) else str(value)
    return "expected a text" if value is None or isinstance(value, tuple) else f'expected a text: quote it, "{written}"'


def _pattern(pattern: str) -> str:
    known: Mapping[str, str] = {
        r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*(/[a-z][a-z0-9]*([-_][a-z0-9]+)*)*$": "a detector such as keywords, or one label "
        "of it, keywords/gambling",
        r"\S": "a text that is not blank",
        r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$": "an id: lower-case letters and digits, a letter first, with single dashes or "
        "underscores between",
        r"^[A-Za-z][A-Za-z0-9_.-]*$": "a name: letters, digits, dots, dashes and underscores, a letter first",
        r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?$": "a language such as en or pt-BR",
        r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$": "three numbers such as 1.0.0",
    }
    return known.get(pattern, f"a text that matches {pattern}")


def _unknown(keys: list[Any], node: Node, model: type[BaseModel]) -> Problem:
    above, name = node.get(*keys[:-1]) or node, str(keys[-1])
    entry = above.entries().get(name)
    where, field = entry.key if entry else above, _spelled(keys)
    if name.lower() in ("threshold", "thresholds"):
        return where.problem("L016", f"{field}: {_THRESHOLD}")
    return where.problem("P101", f"{field}: unknown key{did_you_mean(name, field_names(model, keys[:-1]))}")


def _purpose(model: type[BaseModel], keys: list[Any]) -> str:
    section = _section(model, keys[:-1])
    for name, field in section.model_fields.items() if section else ():
        if (field.alias or name) == keys[-1] and field.description:
            return f": {field.description[0].lower()}{field.description[1:].rstrip('.')}"
    return ""


def field_names(model: type[BaseModel], keys: Sequence[Any]) -> list[str]:
    """The keys that the mapping at `keys` may have, as written in YAML."""
    section = _section(model, keys)
    return [field.alias or name for name, field in section.model_fields.items()] if section else []


def _section(model: type[BaseModel], keys: Sequence[Any]) -> type[BaseModel] | None:
    """The model that stands at `keys`, looking through lists and options."""
    section: type[BaseModel] | None = model
    for key in keys:
        if isinstance(key, int) or section is None:
            continue
        fields = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
        section = _model_in(fields.get(key))
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one))), None)
