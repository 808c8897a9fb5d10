"""What ships with the package, through the same door as everything else: the concept detector, the torch encoders and recordings."""

from __future__ import annotations

from pathlib import Path

from moderation.detector.concept import ConceptDetector
from moderation.encoder.base import Encoder
from moderation.plugin.hookspecs import hookimpl
from moderation.plugin.registry import DetectorRegistry, EncoderRegistry, EncoderRequest


@hookimpl
def register_detectors(registry: DetectorRegistry) -> None:
    """The detector that a compiled policy is."""
    registry.add_maker("concept", ConceptDetector)


@hookimpl
def register_encoders(registry: EncoderRegistry) -> None:
    """Checkpoints in the Hugging Face layout, and the bundled one; and recordings of any encoder."""
    registry.add("torch", _load_with_torch)
    registry.add("recorded", _load_recorded)


def _load_with_torch(request: EncoderRequest) -> Encoder:
    # torch takes seconds to import: only a process that encodes pays for it.
    from moderation.encoder.checkpoint import load

    wanted = request.settings
    return load(wanted.checkpoint, device=wanted.device, dtype=wanted.dtype, limits=request.images)


def _load_recorded(request: EncoderRequest) -> Encoder:
    from moderation.encoder.recorded import load_recording

    return load_recording(Path(request.settings.checkpoint).expanduser())
