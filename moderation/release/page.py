"""What pages have in common: a template made into HTML that fetches nothing, and pictures inside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import jinja2
from markupsafe import Markup, escape

from moderation.errors import counted, one_line

_SIGNATURES = ((b"RIFF", "webp"), (b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"))


def render(template: Traversable, *, style: Traversable, filters: Mapping[str, Any], **values: Any) -> str:
    """The template with these values, and the style sheet as `style`; it may import what pages share from `figures.html.j2`, `name` is for names of files and items, `counted` for a number with its noun. Every text in a value is escaped, and one that is missing raises."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(lambda name: (resources.files(__package__) / name).read_text(encoding="utf-8")),
    )
    environment.filters |= {"name": _name, "count": "{:,}".format, "counted": counted, **filters}
    page = environment.from_string(template.read_text(encoding="utf-8"))
    return page.render(style=style.read_text(encoding="utf-8"), **values)


def data_url(picture: bytes) -> str:
    """A picture's file as the address that holds it."""
    kind = next((kind for signature, kind in _SIGNATURES if picture.startswith(signature)), "webp")
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"


def _name(text: str) -> Markup:
    """A name as one line that a browser breaks where its words end: between letters it breaks only after a hyphen by itself."""
    return Markup(re.sub(r"(?<=[-_./\\])(?=\w)", "<wbr>", str(escape(one_line(text)))))  # noqa: S704 - escaped before
