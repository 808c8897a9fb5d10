"""Of the readers that plugins brought, those that the settings put in force, ready to read."""

from __future__ import annotations

from moderation.item import Modality
from moderation.plugin.brought import Plugins
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import Reader
from moderation.reader.step import Readers

_NEEDED_BY = "the setting readers.use"


def readers_in_force(known: Plugins, settings: ReaderSettings, *, earlier: Readers | None = None) -> Readers | None:
    """The readers that are named, set up; None where none is. What is known of them from `earlier` is kept.

    Raises PluginError where one is not there or cannot be set up.
    """
    chosen = _named(known, settings)
    known.set_up(chosen, {one.id: _NEEDED_BY for one in chosen}, kind="reader")
    return Readers(chosen, settings, earlier=earlier) if chosen else None


def reads_videos(known: Plugins, settings: ReaderSettings) -> bool:
    """Whether one of those that are named reads videos. Raises PluginError where one is not there."""
    return any(Modality.VIDEO in one.reads for one in _named(known, settings))


def _named(known: Plugins, settings: ReaderSettings) -> list[Reader]:
    return [known.reader(id_, needed_by=_NEEDED_BY) for id_ in dict.fromkeys(settings.use)]
