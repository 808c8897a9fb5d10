"""Reads a third party's head from a file of plain arrays; nothing that could run code is ever opened."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from moderation.detector.linear import ImportedDetector, LinearHead, PromptHead
from moderation.errors import DetectorError
from moderation.item import Modality
from moderation.plugin_sections import HeadSettings


def import_detector(id_: str, settings: HeadSettings) -> ImportedDetector:
    """The detector that the settings describe under `heads.<id>`; its only label is `label`, or the id.

    Raises DetectorError where the file is not one of plain arrays, an array is missing, or its shape makes no head.
    """
    path = Path(settings.path).expanduser()
    arrays = _read(id_, path)
    head = _linear(id_, arrays, settings) if settings.kind == "linear" else _prompts(id_, arrays, settings)
    modalities = frozenset(Modality(one) for one in settings.modalities)
    return ImportedDetector(id_, (settings.label or id_,), modalities, head, settings.encoder)


def _linear(id_: str, arrays: dict[str, NDArray[Any]], settings: HeadSettings) -> LinearHead:
    weight = _array(id_, arrays, settings.array or "weight")
    bias = _array(id_, arrays, settings.bias) if settings.bias else np.zeros(1)
    if weight.size != max(weight.shape, default=0) or bias.size != 1:
        raise DetectorError(
            id_,
            f"found a weight of shape {weight.shape} and {bias.size} biases; expected one row of numbers and one bias",
        )
    return LinearHead(weight.ravel(), float(bias.ravel()[0]), settings.span)


def _prompts(id_: str, arrays: dict[str, NDArray[Any]], settings: HeadSettings) -> PromptHead:
    prompts = _array(id_, arrays, settings.array or "prompts")
    if prompts.ndim != 2 or len(prompts) < 2 or not 0 <= settings.risky < len(prompts):
        raise DetectorError(
            id_,
            f"found prompts of shape {prompts.shape} and risky = {settings.risky}; expected two rows or more, and one of them",
        )
    if not np.linalg.norm(prompts, axis=1).all():
        raise DetectorError(id_, "found a prompt of length 0; expected vectors with a direction")
    return PromptHead(prompts, settings.risky, settings.scale)


def _array(id_: str, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float64]:
    if name not in arrays:
        raise DetectorError(id_, f"the file has no array {name!r}; found {', '.join(sorted(arrays)) or 'none'}")
    array = arrays[name]
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise DetectorError(
            id_, f"array {name!r} is {array.dtype} {array.shape}; expected finite floating-point numbers"
        )
    return array.astype(np.float64)


def _read(id_: str, path: Path) -> dict[str, NDArray[Any]]:
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.load_file(path))
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                return dict(stored)
    except (OSError, SafetensorError, ValueError, zipfile.BadZipFile) as error:
        raise DetectorError(id_, f"{path} cannot be read as plain arrays: {error}") from None
    raise DetectorError(
        id_, f"found {path.name!r}; expected a .npz or .safetensors file (others can run code when read)"
    )
