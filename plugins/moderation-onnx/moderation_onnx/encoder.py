"""An export into an encoder: moderation's own, which decodes, tokenizes and rounds as ever, with ONNX Runtime under its towers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from moderation.encoder.base import Encoder, Fingerprint
from moderation.encoder.checkpoint import describe, tokenizer
from moderation.encoder.clip import ImageSide, TextSide, TorchEncoder
from moderation.errors import CheckpointError, EncoderError
from moderation.settings import ImageLimits, PixelsWay
from moderation_onnx.manifest import read_manifest, read_tower

NUMERIC = "onnx-cpu-float32"


@dataclass(frozen=True, slots=True, eq=False)
class Tower:
    """An image or a text tower in ONNX Runtime: what moderation's towers take and give, on the CPU."""

    session: onnxruntime.InferenceSession

    @classmethod
    def of(cls, content: bytes) -> Tower:
        """From the bytes of an ONNX file, on as many threads as torch has here."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Waiting threads would spin and take the cores from those that decode the next batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return cls(onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]))

    def __call__(self, *batch: Tensor) -> Tensor:
        names = [one.name for one in self.session.get_inputs()]
        arrays = [np.ascontiguousarray(one.numpy()) for one in batch]
        (vectors,) = self.session.run(None, dict(zip(names, arrays, strict=True)))
        return torch.from_numpy(vectors)


def load(
    reference: str,
    *,
    device: str = "auto",
    dtype: str = "float32",
    pixels: PixelsWay = "exact",
    limits: ImageLimits | None = None,
) -> Encoder:
    """The encoder of an export's folder; its card and tokenizer are those of the checkpoint, which must still be there.

    Its identity is computed from the checkpoint as it is now, and an export of another one is refused. Raises CheckpointError
    for that and for damaged files, EncoderError for a device other than the CPU and a dtype other than float32.
    """
    if device not in ("auto", "cpu") or dtype != "float32":
        raise EncoderError(f"the loader onnx runs on device 'cpu' in 'float32'; found {device!r} and {dtype!r}")
    folder = Path(reference).expanduser()
    manifest = read_manifest(folder)
    found = describe(manifest.checkpoint)
    if found.identity != manifest.identity:
        raise CheckpointError(
            f"{folder}: exported from an encoder of identity {manifest.identity}, but {manifest.checkpoint!r} is now "
            f"{found.identity}; export again"
        )
    image, text = found.card.image, found.card.text
    return TorchEncoder(
        card=found.card,
        fingerprint=Fingerprint(describe(manifest.checkpoint, pixels=pixels).identity, NUMERIC),
        device=torch.device("cpu"),
        image=ImageSide(image, Tower.of(read_tower(folder, manifest, "image.onnx"))) if image else None,
        text=TextSide(tokenizer(found), Tower.of(read_tower(folder, manifest, "text.onnx"))) if text else None,
        limits=limits or ImageLimits(),
        pixels=pixels,
    )
