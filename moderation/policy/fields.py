"""The kinds of values that policy files hold, and the base of every section: strict, frozen, no unknown keys."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticKnownError

from moderation.item import JUDGED, Modality
from moderation.policy.languages import language_of


def _day(value: Any) -> Any:
    """A quoted day is as good as an unquoted one."""
    try:
        return dt.date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _judged(value: Any) -> Modality:
    """A modality that a policy can judge."""
    if value not in JUDGED:
        raise PydanticKnownError("enum", {"expected": " or ".join(f"'{one.value}'" for one in JUDGED)})
    return Modality(value)


def _registered(tag: str) -> str:
    """A language that there is: an item's would never be the same as another."""
    if language_of(tag) is None:
        raise ValueError(f"found {tag!r}; expected a registered language such as en or pt-BR")
    return tag


Trimmed = Annotated[str, StringConstraints(strip_whitespace=True)]
Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$", max_length=64)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]
DetectorLabel = Annotated[
    str, Field(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*(/[a-z][a-z0-9]*([-_][a-z0-9]+)*)*$", max_length=128)
]
Version = Annotated[str, Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$")]
Language = Annotated[
    str, Field(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|\d{3}))?$"), AfterValidator(_registered)
]
Share = Annotated[float, Field(ge=0, le=1)]
Day = Annotated[dt.date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
# A Path already, joined to the folder of the file that names it; relative text in the YAML.
FilePath = Annotated[Path, WithJsonSchema({"type": "string", "minLength": 1, "pattern": r"^[^/~\\][^\\]*$"})]
OneModality = Annotated[
    Modality,
    PlainValidator(_judged),
    WithJsonSchema({"type": "string", "enum": [one.value for one in JUDGED]}),
]


class Section(BaseModel):
    """One mapping of a policy file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
