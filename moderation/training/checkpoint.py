"""Tensors and facts on disk: written to a temporary file, then renamed, so that a crash leaves the last whole one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from moderation.errors import TrainingError


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, object]) -> None:
    """Write `tensors` and the JSON `facts` to `path` as one safetensors file, all or nothing.

    Raises TrainingError where it cannot be written, for want of room or of rights: what was there before is still whole.
    """
    temporary = path.with_suffix(".writing")
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(whole, temporary, metadata={"facts": json.dumps(facts)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        before = "the one before it is whole" if path.exists() else "there was none before it"
        raise TrainingError(f"{path}: the checkpoint cannot be written: {error}; {before}") from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, facts) that `save` wrote; raises TrainingError where there is no whole file."""
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint to resume from")
    try:
        with safe_open(path, framework="pt") as found:
            facts = json.loads((found.metadata() or {})["facts"])
            return {name: found.get_tensor(name) for name in found.keys()}, facts  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint of a training run: {error}") from None
