"""docs/settings.md has every key of the settings with its default, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from moderation.sections import Section
from moderation.settings import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
NAMED = {
    "encoders": "NAME",
    "heads": "ID",
    "fetch": "SCHEME",
    "settings": "ID",
    "keys": "NAME",
    "categories": "ID",
}  # what stands for the key of a section that there may be several of


def rows(model: type[Section], above: str = "") -> Iterator[tuple[str, str]]:
    """Every key that holds a value, with its default as TOML has it, or that it is required."""
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        path = f"{above}{name}"
        if get_origin(kind) is Mapping:
            kind, path = get_args(kind)[1], f"{path}.{NAMED[name]}"
        inner = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Section)]
        for section in inner:
            yield from rows(section, f"{path}.")
        if not inner:
            yield path, "required" if field.is_required() else spelled(field.default)


def spelled(default: Any) -> str:
    return "" if default is None else f"`{json.dumps(default)}`"


def test_the_reference_has_every_key_with_its_default_and_no_other() -> None:
    told = re.findall(r"^\| `([\w.]+)` \| *(.*?) *\|", PAGE, re.MULTILINE)
    code = dict(rows(Settings))
    assert dict(told) == code
    assert len(told) == len(code)
