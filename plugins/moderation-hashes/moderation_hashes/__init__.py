"""Pictures against lists of known-bad ones, by PDQ. The settings name the index; without it the plugin brings nothing."""

from pathlib import Path

from moderation import hookimpl
from moderation.errors import PluginError


@hookimpl
def register_detectors(registry):
    unknown = registry.settings.keys() - {"index"}
    if unknown:
        raise PluginError(registry.plugin, f"its settings have {', '.join(sorted(unknown))}; expected index alone")
    if "index" in registry.settings:
        from moderation_hashes.detector import Hashes

        registry.add(Hashes((registry.folder / Path(registry.settings["index"]).expanduser()).absolute()))
