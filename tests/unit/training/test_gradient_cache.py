"""Gradient caching against the plain step over the whole batch: every gradient, dropout on, the scale learned."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from moderation.errors import TrainingError
from moderation.training.chunked import softmax_loss
from moderation.training.gradient_cache import cached_backward

Part = tuple[Tensor, Tensor]


class Pair(nn.Module):
    """Two small towers with dropout and a learned scale."""

    def __init__(self) -> None:
        super().__init__()
        self.images = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 8))
        self.texts = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Dropout(0.3), nn.Linear(16, 8))
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def encode(self, part: Part) -> tuple[Tensor, Tensor]:
        images, texts = part
        return functional.normalize(self.images(images)), functional.normalize(self.texts(texts))

    def loss(self, images: Tensor, texts: Tensor) -> Tensor:
        return softmax_loss(images, texts, self.log_scale.exp(), chunk=4)


def made(dtype: torch.dtype = torch.float64) -> tuple[Pair, list[Part]]:
    torch.manual_seed(1)
    sizes = (5, 3, 7)
    return Pair().to(dtype), [(torch.randn(n, 6, dtype=dtype), torch.randn(n, 5, dtype=dtype)) for n in sizes]


def plain_backward(pair: Pair, parts: list[Part]) -> Tensor:
    """One graph over all parts, which draw their dropout in the same order."""
    images, texts = (torch.cat(side) for side in zip(*map(pair.encode, parts), strict=True))
    value = pair.loss(images, texts)
    value.backward()
    return value.detach()


def gradients(pair: Pair) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in pair.named_parameters()}


def test_every_gradient_is_that_of_the_plain_step_with_dropout_on() -> None:
    plain, parts = made()
    cached, _ = made()
    torch.manual_seed(7)
    expected = plain_backward(plain, parts)
    next_draw = torch.rand(())
    torch.manual_seed(7)
    value = cached_backward(cached.encode, parts, cached.loss)
    torch.testing.assert_close(torch.rand(()), next_draw, rtol=0, atol=0)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    assert not value.requires_grad
    torch.testing.assert_close(gradients(cached), gradients(plain), rtol=1e-12, atol=1e-12)


def test_gradients_add_up_over_steps_as_those_of_backward_do() -> None:
    pair, parts = made()
    pair.eval()
    cached_backward(pair.encode, parts, pair.loss)
    once = {name: 2 * gradient for name, gradient in gradients(pair).items() if gradient is not None}
    cached_backward(pair.encode, parts, pair.loss)
    torch.testing.assert_close(gradients(pair), once)


def test_under_autocast_every_weight_still_learns() -> None:
    plain, parts = made(torch.float32)
    cached, _ = made(torch.float32)
    for pair, backward in ((plain, lambda: plain_backward(plain, parts)), (cached, None)):
        torch.manual_seed(7)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _ = backward() if backward else cached_backward(pair.encode, parts, pair.loss)
    for (name, found), expected in zip(gradients(cached).items(), gradients(plain).values(), strict=True):
        assert found is not None, name
        assert torch.linalg.vector_norm(found - expected) <= 0.02 * torch.linalg.vector_norm(expected), name


@pytest.mark.parametrize("locked", [("images",), ("texts",), ("images", "texts")], ids="+".join)
def test_a_locked_tower_gets_nothing_and_the_rest_what_it_gets_in_a_plain_step(locked: tuple[str, ...]) -> None:
    plain, parts = made()
    cached, _ = made()
    for pair in (plain, cached):
        for name in locked:
            getattr(pair, name).requires_grad_(False)
    torch.manual_seed(7)
    plain_backward(plain, parts)
    torch.manual_seed(7)
    cached_backward(cached.encode, parts, cached.loss)
    torch.testing.assert_close(gradients(cached), gradients(plain), rtol=1e-12, atol=1e-12)


def test_only_one_part_at_a_time_holds_its_graph() -> None:
    pair, parts = made()
    alive, most = 0, 0

    class Counted(torch.autograd.Function):
        """Counts the graphs that wait for their backward pass."""

        @staticmethod
        def forward(ctx, features):
            return features.clone()

        @staticmethod
        def backward(ctx, gradient):
            nonlocal alive
            alive -= 1
            return gradient

    def encode(part: Part) -> tuple[Tensor, Tensor]:
        nonlocal alive, most
        images, texts = pair.encode(part)
        if images.requires_grad:
            alive += 1
            most = max(most, alive)
        return Counted.apply(images), texts

    cached_backward(encode, parts, pair.loss)
    assert (alive, most) == (0, 1)


def test_randomness_that_is_not_of_torch_is_found_out() -> None:
    pair, parts = made()
    own = random.Random(3)

    def encode(part: Part) -> tuple[Tensor, Tensor]:
        images, texts = part
        return pair.encode((images + own.gauss(0, 3), texts))

    with pytest.raises(TrainingError, match=r"image features moved by \d+ % .*no randomness but torch's own"):
        cached_backward(encode, parts, pair.loss)


def test_no_parts_are_refused() -> None:
    pair, _ = made()
    with pytest.raises(TrainingError, match="no parts of a batch; expected at least one"):
        cached_backward(pair.encode, [], pair.loss)


@pytest.mark.needs_gpu
def test_dropout_repeats_on_cuda() -> None:
    plain, cached = (made()[0].cuda() for _ in "pc")
    parts = [(images.cuda(), texts.cuda()) for images, texts in made()[1]]
    torch.manual_seed(7)
    expected = plain_backward(plain, parts)
    torch.manual_seed(7)
    torch.testing.assert_close(cached_backward(cached.encode, parts, cached.loss), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients(cached), gradients(plain), rtol=1e-10, atol=1e-10)
