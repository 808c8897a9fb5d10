"""The plugin's own settings, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderation.errors import PluginError


class Section(BaseModel):
    """`[plugins.settings.ocr]`.

    `confidence`: what a line must be read with to count. `longest_side`: pixels of the longer side of what lines are looked for in; a larger picture is
    made smaller. `characters` of a part at most. `seconds` for a batch, after which pictures are left unread.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    longest_side: Annotated[int, Field(ge=320, le=4000)] = 960
    characters: Annotated[int, Field(ge=50, le=100_000)] = 500
    seconds: Annotated[float, Field(gt=0.0)] = 25.0


def read_section(plugin: str, settings: Mapping[str, Any]) -> Section:
    """The settings of this plugin. Raises PluginError with all that is wrong."""
    try:
        return Section.model_validate(settings)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        raise PluginError(plugin, f"its settings are wrong: {'; '.join(told)}") from None
