"""The hooks a plugin may implement. They only register: our own code calls what was registered, never pluggy.

`plugins/README.md` is the reference; every hook here has a section there, an example and a test.
"""

from __future__ import annotations

import pluggy

from moderation.plugin.registry import DetectorRegistry, EncoderRegistry, FetcherRegistry, ReaderRegistry, SinkRegistry

GROUP = "moderation"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_detectors(registry: DetectorRegistry) -> None:
    """Register detectors: call `registry.add(detector)` for each."""


@hookspec
def register_readers(registry: ReaderRegistry) -> None:
    """Register readers: call `registry.add(reader)` for each."""


@hookspec
def register_encoders(registry: EncoderRegistry) -> None:
    """Register loaders of encoders: call `registry.add(name, load)` for each."""


@hookspec
def register_fetchers(registry: FetcherRegistry) -> None:
    """Register makers of fetchers: call `registry.add(scheme, make)` for each."""


@hookspec
def register_sinks(registry: SinkRegistry) -> None:
    """Register sinks: call `registry.add(sink)` for each."""
