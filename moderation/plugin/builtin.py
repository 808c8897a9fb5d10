"""What ships with the package, through the same door as everything else: tiles of pictures, the torch encoders, recordings, and fetchers."""

from __future__ import annotations

from pathlib import Path

from moderation.encoder.base import Encoder
from moderation.item import Fetcher
from moderation.plugin.hookspecs import hookimpl
from moderation.plugin.registry import (
    EncoderRegistry,
    EncoderRequest,
    FetcherRegistry,
    FetcherRequest,
    ReaderRegistry,
)
from moderation.plugin_sections import TileSettings
from moderation.reader.tiles import Tiles
from moderation.settings import ImageLimits


@hookimpl
def register_readers(registry: ReaderRegistry) -> None:
    """Tiles of large pictures. The section of the built-in plugin is the package's own to fill: what a picture may be, and what is cut."""
    own = registry.settings
    registry.add(Tiles(own.get("tiles", TileSettings()), own.get("images", ImageLimits())))


@hookimpl
def register_encoders(registry: EncoderRegistry) -> None:
    """Checkpoints in the Hugging Face layout, and the bundled one; and recordings of any encoder."""
    registry.add("torch", _load_with_torch)
    registry.add("recorded", _load_recorded)


@hookimpl
def register_fetchers(registry: FetcherRegistry) -> None:
    """The guarded client, and stores that speak S3 through it."""
    registry.add("http", _make_http)
    registry.add("https", _make_http)
    registry.add("s3", _make_s3)


def _load_with_torch(request: EncoderRequest) -> Encoder:
    # torch takes seconds to import: only a process that encodes pays for it.
    from moderation.encoder.checkpoint import load

    wanted = request.settings
    return load(
        wanted.checkpoint, device=wanted.device, dtype=wanted.dtype, pixels=wanted.pixels, limits=request.images
    )


def _load_recorded(request: EncoderRequest) -> Encoder:
    from moderation.encoder.recorded import load_recording

    return load_recording(Path(request.settings.checkpoint).expanduser())


def _make_http(request: FetcherRequest) -> Fetcher:
    # http.client and ssl are for who fetches.
    from moderation.fetcher.http import open_http

    return open_http(request.scheme, request.settings)


def _make_s3(request: FetcherRequest) -> Fetcher:
    from moderation.fetcher.s3 import open_s3

    return open_s3(request.settings)
