"""The plugin's own settings, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderation.detector.names import SLUG, is_label
from moderation.errors import PluginError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListSection(_Section):
    """One list: its file, absolute once it is read, and the score of those of its entries that say none."""

    path: Path
    score: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0


class Sections(_Section):
    """`[plugins.settings.lists]`: lists by label, phrases that are no match, and how far a spelling may stray."""

    lists: Mapping[str, ListSection] = {}
    allow: Path | None = None
    leet: bool = False
    stretch: Annotated[int, Field(ge=0, le=8)] = 3


def read_sections(plugin: str, settings: Mapping[str, Any], folder: Path = Path()) -> Sections:
    """The settings of this plugin, whose paths are meant from a folder on. Raises PluginError with all that is wrong."""
    try:
        sections = Sections.model_validate(settings)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        raise PluginError(plugin, f"its settings are wrong: {'; '.join(told)}") from None
    wrong = [name for name in sections.lists if not is_label(name)]
    if wrong:
        raise PluginError(plugin, f"found list {wrong[0]!r} in its settings; expected {SLUG}")
    lists = {name: one.model_copy(update={"path": _at(folder, one.path)}) for name, one in sections.lists.items()}
    return sections.model_copy(update={"lists": lists, "allow": sections.allow and _at(folder, sections.allow)})


def _at(folder: Path, path: Path) -> Path:
    """Absolute, so that a message tells where a file was looked for."""
    return (folder / path.expanduser()).absolute()
