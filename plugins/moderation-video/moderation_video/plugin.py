"""The plugin's door: settings in, a reader registered. libav is loaded here by nobody: it lives in processes of its own."""

from dataclasses import fields
from typing import Any

from moderation import hookimpl
from moderation.errors import PluginError
from moderation_video.limits import Limits
from moderation_video.reader import Frames


@hookimpl
def register_readers(registry):
    registry.add(_reader(registry.plugin, registry.settings))


def _reader(plugin: str, settings: Any) -> Frames:
    defaults = {one.name: one.default for one in fields(Limits)} | {"timeout_seconds": 25.0, "processes": 2}
    unknown = settings.keys() - defaults.keys()
    if unknown:
        raise PluginError(
            plugin, f"its settings have {', '.join(sorted(unknown))}; expected any of {', '.join(defaults)}"
        )
    for name, value in settings.items():
        whole = isinstance(defaults[name], int)
        least = Limits.least(name)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not least <= value:
            kind = "a whole number" if whole else "a number"
            raise PluginError(plugin, f"settings: {name} is {value!r}; expected {kind}, {least:g} or more")
    own = {name: settings[name] for name in settings.keys() & {"timeout_seconds", "processes"}}
    return Frames(Limits(**{name: settings[name] for name in settings.keys() - own.keys()}), **own)
