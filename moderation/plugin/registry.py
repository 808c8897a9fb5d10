"""Where a plugin's hooks put what they bring: everything is checked as it arrives, nothing is in force yet."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moderation.decision import Sink
from moderation.detector.base import Detector, needs_scores
from moderation.detector.life import STEPS
from moderation.detector.names import SLUG, is_label, is_revision, is_slug
from moderation.encoder.base import Encoder
from moderation.errors import PluginError
from moderation.item import JUDGED, Fetcher, Modality
from moderation.reader.base import Reader
from moderation.sections import FetchSettings
from moderation.settings import EncoderSettings, ImageLimits

PluginSection = Mapping[str, Any]  # what `[plugins.settings.ID]` holds, as TOML has it: nothing of it is checked by us


@dataclass(frozen=True, slots=True)
class EncoderRequest:
    """Which encoder is wanted: its settings (checkpoint, device, dtype), and what a picture may be before decoding."""

    settings: EncoderSettings
    images: ImageLimits


EncoderLoader = Callable[[EncoderRequest], Encoder]


@dataclass(frozen=True, slots=True)
class FetcherRequest:
    """Which fetcher is wanted: the scheme of the references that it will get, and the settings' section of that name."""

    scheme: str
    settings: FetchSettings


FetcherMaker = Callable[[FetcherRequest], Fetcher]


@dataclass(slots=True)
class DetectorRegistry:
    """Takes one plugin's detectors. `settings` is its own section of the settings, in every registry, and `folder` where paths in it are meant from."""

    plugin: str
    settings: PluginSection = field(default_factory=dict, repr=False)
    folder: Path = Path()
    detectors: dict[str, Detector] = field(default_factory=dict)

    def add(self, detector: Detector) -> None:
        """Register one detector, ready to run. Raises PluginError when it is not what a detector must be."""
        _check_detector(self.plugin, detector)
        if detector.id in self.detectors:
            raise PluginError(self.plugin, f"registers detector {detector.id!r} twice; expected every id once")
        self.detectors[detector.id] = detector


@dataclass(slots=True)
class ReaderRegistry:
    """Takes one plugin's readers."""

    plugin: str
    settings: PluginSection = field(default_factory=dict, repr=False)
    folder: Path = Path()
    readers: dict[str, Reader] = field(default_factory=dict)

    def add(self, reader: Reader) -> None:
        """Register one reader, ready to run. Raises PluginError when it is not what a reader must be."""
        _check_reader(self.plugin, reader)
        if reader.id in self.readers:
            raise PluginError(self.plugin, f"registers reader {reader.id!r} twice; expected every id once")
        self.readers[reader.id] = reader


@dataclass(slots=True)
class EncoderRegistry:
    """Takes one plugin's loaders of encoders."""

    plugin: str
    settings: PluginSection = field(default_factory=dict, repr=False)
    folder: Path = Path()
    loaders: dict[str, EncoderLoader] = field(default_factory=dict)

    def add(self, name: str, load: EncoderLoader) -> None:
        """Register a loader under the name that `loader = "…"` in the settings asks for; the built-in one is `torch`."""
        _check_name(self.plugin, "loader", name)
        _check_new(self.plugin, "loader", name, self.loaders, load)
        self.loaders[name] = load


@dataclass(slots=True)
class FetcherRegistry:
    """Takes what makes one plugin's fetchers."""

    plugin: str
    settings: PluginSection = field(default_factory=dict, repr=False)
    folder: Path = Path()
    makers: dict[str, FetcherMaker] = field(default_factory=dict)

    def add(self, scheme: str, make: FetcherMaker) -> None:
        """Register what makes a fetcher of references of this scheme; built in are `http`, `https` and `s3`."""
        _check_name(self.plugin, "scheme", scheme)
        _check_new(self.plugin, "scheme", scheme, self.makers, make)
        self.makers[scheme] = make


@dataclass(slots=True)
class SinkRegistry:
    """Takes one plugin's sinks."""

    plugin: str
    settings: PluginSection = field(default_factory=dict, repr=False)
    folder: Path = Path()
    sinks: dict[str, Sink] = field(default_factory=dict)

    def add(self, sink: Sink) -> None:
        """Register one sink; what is secret, heavy or far away waits for its `setup`. Raises PluginError when it is not what a sink must be."""
        _check_sink(self.plugin, sink)
        if sink.id in self.sinks:
            raise PluginError(self.plugin, f"registers sink {sink.id!r} twice; expected every id once")
        self.sinks[sink.id] = sink


def _check_detector(plugin: str, detector: Any) -> None:
    _check_has(plugin, detector, "Detector", "id", "labels", "modalities", "needs_embeddings", "detect")
    _check_name(plugin, "detector id", detector.id)
    fits = {
        "labels (a tuple of different words such as 'gambling' or 'self-harm/intent')": _labels_fit(detector.labels),
        "modalities (a frozenset of Modality.IMAGE, Modality.TEXT)": _modalities_fit(detector.modalities, JUDGED),
        "needs_embeddings (True or False)": isinstance(detector.needs_embeddings, bool),
        "needs_scores (a tuple of names such as 'keywords' or 'keywords/gambling')": _names_fit(needs_scores(detector)),
        "steepness (a number, 0 or more)": _steepness_fits(getattr(detector, "steepness", None)),
        "detect (a method)": callable(detector.detect),
    }
    _check_fits(plugin, f"detector {detector.id!r}", {**fits, **_life_fits(detector)})


def _check_reader(plugin: str, reader: Any) -> None:
    _check_has(plugin, reader, "Reader", "id", "reads", "yields", "read")
    _check_name(plugin, "reader id", reader.id)
    fits = {
        "reads (a frozenset of Modality)": _modalities_fit(reader.reads, tuple(Modality)),
        "yields (a frozenset of Modality.IMAGE, Modality.TEXT)": _modalities_fit(reader.yields, JUDGED),
        "read (a method)": callable(reader.read),
        "crops (True or False)": isinstance(getattr(reader, "crops", False), bool),
        "revision (letters, digits and ._+:-, 64 at most)": _revision_fits(reader),
    }
    _check_fits(plugin, f"reader {reader.id!r}", {**fits, **_life_fits(reader)})


def _check_sink(plugin: str, sink: Any) -> None:
    _check_has(plugin, sink, "Sink", "id", "deliver")
    _check_name(plugin, "sink id", sink.id)
    _check_fits(plugin, f"sink {sink.id!r}", {"deliver (a method)": callable(sink.deliver), **_life_fits(sink)})


def _check_has(plugin: str, unit: Any, kind: str, *names: str) -> None:
    lacking = [name for name in names if not hasattr(unit, name)]
    if lacking:
        raise PluginError(plugin, f"registers a {_kind(unit)} that lacks {', '.join(lacking)}; expected a {kind}")


def _check_fits(plugin: str, what: str, fits: Mapping[str, bool]) -> None:
    problems = [name for name, fit in fits.items() if not fit]
    if problems:
        raise PluginError(plugin, f"{what} has a wrong {'; a wrong '.join(problems)}")


def _life_fits(unit: Any) -> dict[str, bool]:
    return {f"{step} (a method)": callable(getattr(unit, step, callable)) for step in STEPS}


def _revision_fits(unit: Any) -> bool:
    told = getattr(unit, "revision", "")
    return isinstance(told, str) and (not told or is_revision(told))


def _steepness_fits(told: Any) -> bool:
    return told is None or (isinstance(told, int | float) and not isinstance(told, bool) and 0.0 <= told < math.inf)


def _labels_fit(labels: Any) -> bool:
    return _names_fit(labels) and len(labels) > 0


def _names_fit(names: Any) -> bool:
    if not isinstance(names, tuple) or not all(isinstance(one, str) and is_label(one) for one in names):
        return False
    return len(names) == len(set(names))


def _modalities_fit(modalities: Any, known: Collection[Modality]) -> bool:
    return (
        isinstance(modalities, frozenset)
        and bool(modalities)
        and all(isinstance(one, Modality) and one in known for one in modalities)
    )


def _check_name(plugin: str, what: str, name: Any) -> None:
    if not isinstance(name, str) or not is_slug(name):
        raise PluginError(plugin, f"found {what} {name!r}; expected {SLUG}")


def _check_new(plugin: str, what: str, name: str, known: dict[str, Any], thing: Any) -> None:
    if name in known:
        raise PluginError(plugin, f"registers {what} {name!r} twice; expected every name once")
    if not callable(thing):
        raise PluginError(plugin, f"{what} {name!r} is a {_kind(thing)}; expected something to call")


def _kind(thing: Any) -> str:
    return type(thing).__name__
