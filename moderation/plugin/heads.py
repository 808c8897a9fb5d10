"""Third parties' heads that the settings name, beside what plugins brought: what is wrong with one is in its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from moderation.detector.base import Detector
from moderation.detector.faults import describe
from moderation.detector.imported import import_detector
from moderation.errors import DetectorError, PluginError
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.plugin.registry import DetectorRegistry
from moderation.plugin_sections import HeadSettings

SETTINGS = "settings"


def with_heads(known: Plugins, heads: Mapping[str, HeadSettings]) -> Plugins:
    """The plugins and, as if one had brought each, the detectors under `heads` in the settings."""
    detectors: dict[str, Detector] = dict(known.detectors)
    records = list(known.records)
    for id_, settings in heads.items():
        record = PluginRecord(f"heads.{id_}", SETTINGS, "", PluginState.LOADED, detectors=(id_,))
        try:
            registry = DetectorRegistry(SETTINGS, detectors=dict(detectors))  # an id that a plugin has is twice there
            registry.add(import_detector(id_, settings))
        except (DetectorError, PluginError) as error:
            record = replace(record, state=PluginState.BROKEN, cause=describe(error))
        else:
            detectors = registry.detectors
        records.append(record)
    return replace(known, records=tuple(records), detectors=detectors)
