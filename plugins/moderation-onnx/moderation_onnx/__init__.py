"""Encoders on ONNX Runtime: `loader = "onnx"` in the settings, and a folder that `moderation-onnx export` wrote."""

from moderation import hookimpl


def _load(request):
    from moderation_onnx.encoder import load

    settings = request.settings
    return load(
        settings.checkpoint,
        device=settings.device,
        dtype=settings.dtype,
        pixels=settings.pixels,
        limits=request.images,
    )


@hookimpl
def register_encoders(registry):
    registry.add("onnx", _load)
