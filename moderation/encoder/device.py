"""Where an encoder runs: the devices that are here, and the one that a setting means."""

from __future__ import annotations

import torch

from moderation.errors import EncoderError


def find_device(name: str) -> torch.device:
    """The device of a setting: "auto" (CUDA where present), "cpu", "cuda" or "cuda:N".

    Raises EncoderError for any other name, and for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EncoderError(f"device {name!r}; expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"device {name!r}: torch finds no CUDA GPU here; expected auto or cpu")
    return device


def cuda_names() -> tuple[str, ...]:
    """The name of every CUDA GPU that torch can use, in its order."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_name(number) for number in range(count))
