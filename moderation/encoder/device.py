"""Where an encoder runs: the devices that are here, the one that a setting means, and on how many threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moderation.errors import EncoderError

_CHANGING = threading.Lock()


def find_device(name: str) -> torch.device:
    """The device of a setting: "auto" (CUDA where present), "cpu", "cuda" or "cuda:N".

    Raises EncoderError for any other name, another kind of device among them, and for a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise EncoderError(f"device {name!r}; expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EncoderError(f"device {name!r}: torch finds no CUDA GPU here; expected auto or cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EncoderError(f"device {name!r}: expected at most cuda:{torch.cuda.device_count() - 1}, the last GPU here")
    return device


def cuda_names() -> tuple[str, ...]:
    """The name of every CUDA GPU that torch can use, in its order."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_name(number) for number in range(count))


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, and on as many as before at the end: how many there are moves the last bits of a vector."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def stay_on_one_thread() -> None:
    """Torch on one thread for who calls this, for good; other threads of the process keep as many as they had.

    Torch has a number for each thread and one for those that come later; the second is set back by a thread that ends then.
    """
    with _CHANGING:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        other = threading.Thread(target=torch.set_num_threads, args=(before,))
        other.start()
        other.join()
