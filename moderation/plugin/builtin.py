"""What ships with the package, through the same door as everything else: the concept detector and the torch encoders."""

from __future__ import annotations

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
    """Checkpoints in the Hugging Face layout, and the bundled one."""
    registry.add("torch", _load_with_torch)


def _load_with_torch(request: EncoderRequest) -> Encoder:
    # torch takes seconds to import: only a process that encodes pays for it.
    from moderation.encoder.checkpoint import load

    wanted = request.settings
    return load(wanted.checkpoint, device=wanted.device, dtype=wanted.dtype, limits=request.images)
