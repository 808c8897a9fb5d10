"""The plugin's door: what the settings name of pytx is registered as detectors. pytx itself is loaded when the first of them is set up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moderation import hookimpl
from moderation.errors import PluginError
from moderation.item import Modality
from moderation_pytx.detectors import ClassifierDetector, SignalDetector

_KINDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "classifiers": {"class": str, "labels": (list, tuple), "score": str, "reads": str},
    "signals": {"type": str, "file": str, "reads": str},
}
_MAY_LACK = frozenset({"score", "reads"})
_READS = {"text": Modality.TEXT, "image": Modality.IMAGE}


@hookimpl
def register_detectors(registry):
    settings, plugin = registry.settings, registry.plugin
    unknown = settings.keys() - _KINDS.keys() - {"locks"}
    if unknown:
        raise PluginError(
            plugin, f"its settings have {', '.join(sorted(unknown))}; expected classifiers, signals, locks"
        )
    for id_, own in _sections(plugin, settings, "classifiers"):
        registry.add(
            ClassifierDetector(id_, own["class"], tuple(own["labels"]), _reads(plugin, id_, own), own.get("score", ""))
        )
    for id_, own in _sections(plugin, settings, "signals"):
        file = str((registry.folder / Path(own["file"]).expanduser()).absolute())
        registry.add(SignalDetector(id_, own["type"], file, _reads(plugin, id_, own)))


def _sections(plugin: str, settings: Mapping[str, Any], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    known, found = _KINDS[kind], settings.get(kind, {})
    for id_, own in found.items():
        wrong = {
            key for key in own.keys() | known.keys() - _MAY_LACK if not isinstance(own.get(key), known.get(key, ()))
        }
        if wrong:
            raise PluginError(
                plugin,
                f"settings: {kind}.{id_}: wrong or missing: {', '.join(sorted(wrong))}; expected {', '.join(known)}",
            )
    return list(found.items())


def _reads(plugin: str, id_: str, own: Mapping[str, Any]) -> Modality:
    reads = own.get("reads", "text")
    if reads not in _READS:
        raise PluginError(plugin, f"settings: {id_}: reads is {reads!r}; expected text or image")
    return _READS[reads]
