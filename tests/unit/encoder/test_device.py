"""Devices: the one that a setting means, and the names of those that are here."""

from __future__ import annotations

import pytest
import torch

from moderation.encoder.device import cuda_names, find_device, one_thread
from moderation.errors import EncoderError


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for present, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda present=present: present)
        assert find_device("auto").type == kind


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("abacus", "expected auto"),
        ("cuda:0", "finds no CUDA GPU"),
        *((other, "expected auto, cpu, cuda or cuda:N") for other in ("mps", "meta", "xpu:0")),
    ],
)
def test_a_device_that_is_not_there_is_an_error(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EncoderError, match=said):
        find_device(name)


def test_a_gpu_past_the_last_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [find_device(name).index for name in ("cuda", "cuda:1")] == [None, 1]
    with pytest.raises(EncoderError, match="expected at most cuda:1"):
        find_device("cuda:2")


def test_every_gpu_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda_names() == ()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert cuda_names() == ("GPU 0", "GPU 1")


def test_one_thread_is_one_and_leaves_as_many_as_there_were_even_after_an_error() -> None:
    def failing() -> None:
        with one_thread():
            raise ArithmeticError(str(torch.get_num_threads()))

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ArithmeticError, match="1"):
            failing()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
