"""A checkpoint's weights as its files hold them, by name: for towers that need nothing of transformers' modelling code, which takes longer to import than torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from moderation.errors import CheckpointError

_PLAIN = frozenset({torch.float32, torch.float16, torch.bfloat16})


class UnusualError(CheckpointError):
    """A weight is missing, quantised, or of another shape than its name tells: transformers may know what it is, or says what is wrong."""


class Weights:
    """Tensors by name, under a prefix. `take` gives them in a dtype, on a device."""

    def __init__(
        self,
        state: Mapping[str, Tensor],
        *,
        prefix: str = "",
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self._state, self._prefix, self.dtype, self._device = state, prefix, dtype, device

    @classmethod
    def read(cls, files: Sequence[Path], dtype: torch.dtype, device: torch.device) -> Weights:
        """All weights of these safetensors files. Raises UnusualError where they cannot be read."""
        try:
            state = {name: one for file in files for name, one in load_file(file).items()}
        except (OSError, SafetensorError, ValueError) as error:
            raise UnusualError(f"the weights do not load: {error}") from None
        return cls(state, dtype=dtype, device=device)

    @classmethod
    def of(cls, model: Any) -> Weights:
        """Those of a model that transformers made, in float32 and where it is."""
        return cls(model.state_dict())

    def under(self, name: str) -> Weights:
        """Those whose names go on behind this one and a dot."""
        return Weights(self._state, prefix=f"{self._prefix}{name}.", dtype=self.dtype, device=self._device)

    def take(self, name: str, *shape: int) -> Tensor:
        """The one of this name, contiguous. Raises UnusualError where it is not there, has another shape, or is quantised."""
        found = self._state.get(self._prefix + name)
        if found is None or found.shape != shape or found.dtype not in _PLAIN:
            raise UnusualError(f"weight {self._prefix + name}: missing, quantised, or not of shape {shape}")
        # A copy, since files are mapped, not read.
        return found.detach().to(self._device, torch.float32, copy=True).to(self.dtype).contiguous()

    def count(self, name: str) -> int:
        """How many numbers those have whose names begin with this one and a dot."""
        return sum(one.numel() for key, one in self._state.items() if key.startswith(f"{self._prefix}{name}."))
