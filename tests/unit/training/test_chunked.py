"""The chunked losses against the plain formulas: values, gradients, precision, memory held, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from moderation.errors import TrainingError
from moderation.training.chunked import sigmoid_loss, softmax_loss

Loss = Callable[..., Tensor]


def plain_softmax(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    logits, own = scale * images @ texts.T, torch.arange(len(images))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def plain_sigmoid(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits = scale * images @ texts.T + bias
    signs = 2 * torch.eye(len(images), dtype=logits.dtype) - 1
    return -functional.logsigmoid(signs * logits).sum() / len(images)


def given(n: int, *numbers: float, width: int = 16, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = [functional.normalize(torch.randn(n, width, generator=generator, dtype=torch.float64)) for _ in "it"]
    return [*(one.to(dtype) for one in features), *(torch.tensor(number, dtype=dtype) for number in numbers)]


def learned(loss: Loss, inputs: list[Tensor], factor: float = 1.0) -> list[Tensor]:
    """The loss and the gradients of all its inputs."""
    leaves = [one.detach().clone().requires_grad_() for one in inputs]
    value = loss(*leaves)
    (factor * value).backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


PAIRS = [(softmax_loss, plain_softmax, (17.0,)), (sigmoid_loss, plain_sigmoid, (17.0, -4.0))]


@pytest.mark.parametrize(("ours", "plain", "numbers"), PAIRS, ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 65])
def test_value_and_gradients_are_the_plain_loss_in_float64(
    ours: Loss, plain: Loss, numbers: tuple[float], n: int
) -> None:
    inputs = given(n, *numbers)
    for found, expected in zip(learned(partial(ours, chunk=7), inputs), learned(plain, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ours", "plain", "numbers"), PAIRS, ids=["softmax", "sigmoid"])
def test_the_gradient_follows_what_comes_after_the_loss(ours: Loss, plain: Loss, numbers: tuple[float]) -> None:
    inputs = given(9, *numbers)
    for found, expected in zip(learned(ours, inputs, -3.0), learned(plain, inputs, -3.0), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ours", "plain", "numbers"), PAIRS, ids=["softmax", "sigmoid"])
def test_float32_stays_near_float64_at_the_highest_scale(ours: Loss, plain: Loss, numbers: tuple[float]) -> None:
    inputs = given(300, 100.0, *numbers[1:])
    found = learned(partial(ours, chunk=64), [one.float() for one in inputs])
    for one, expected in zip(found, learned(plain, inputs), strict=True):
        assert torch.linalg.vector_norm(one - expected) <= 2e-5 * torch.linalg.vector_norm(expected)


@pytest.mark.parametrize(("ours", "plain", "numbers"), PAIRS, ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_round_the_logits(ours: Loss, plain: Loss, numbers: tuple[float], dtype: torch.dtype) -> None:
    inputs = given(50, 100.0, *numbers[1:], dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = learned(ours, inputs)  # the backward pass is inside too, as some loops have it
    expected = learned(plain, [one.double() for one in inputs])
    assert found[0].dtype == torch.float32
    assert abs(found[0] - expected[0]) < 1e-5 * expected[0]
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == dtype
        bound = 1e-4 if dtype == torch.float32 else 2**-8  # a gradient comes back in the dtype of what it belongs to
        assert torch.linalg.vector_norm(one - other) <= bound * torch.linalg.vector_norm(other)


@pytest.mark.parametrize(("ours", "numbers"), [(softmax_loss, (17.0,)), (sigmoid_loss, (17.0, -4.0))])
@pytest.mark.parametrize("learning", range(3))
def test_what_does_not_learn_gets_nothing_and_the_rest_is_unchanged(
    ours: Loss, numbers: tuple[float], learning: int
) -> None:
    inputs = given(10, *numbers)
    expected = learned(ours, inputs)[1:]
    inputs[learning].requires_grad_()
    ours(*inputs).backward()
    torch.testing.assert_close(inputs[learning].grad, expected[learning])
    assert all(one.grad is None for at, one in enumerate(inputs) if at != learning)


def test_a_scale_with_a_dimension_gets_a_gradient_of_its_own_shape() -> None:
    images, texts, scale, bias = given(5, 3.0, -1.0)
    scale, bias = scale.reshape(1).requires_grad_(), bias.reshape(1, 1).requires_grad_()
    sigmoid_loss(images, texts, scale, bias).backward()
    assert scale.grad is not None
    assert bias.grad is not None
    assert (scale.grad.shape, bias.grad.shape) == ((1,), (1, 1))


def test_nothing_of_the_size_of_the_matrix_waits_for_the_backward_pass() -> None:
    images, texts, scale = given(400, 9.0)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one.numel()) or one, lambda one: one):
        softmax_loss(images.requires_grad_(), texts, scale, chunk=10)
    assert max(kept) == images.numel()


def test_features_changed_before_the_backward_pass_are_noticed() -> None:
    images, texts, scale = given(5, 9.0)
    value = softmax_loss(images, texts, scale.requires_grad_())
    with torch.no_grad():
        texts.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        ((3, 4), (2, 4), r"image features \[3, 4\] and text features \[2, 4\]; expected \[rows, 4\] of both"),
        ((3, 4), (3, 5), r"image features \[3, 4\] and text features \[3, 5\]; expected"),
        ((0, 4), (0, 4), r"image features \[0, 4\] and text features \[0, 4\]; expected .* at least one row"),
        ((3,), (3,), r"features of shape \[3\] and \[3\]; expected \[rows, width\]"),
    ],
)
def test_features_that_do_not_fit_are_refused(images: tuple[int], texts: tuple[int], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        softmax_loss(torch.ones(images), torch.ones(texts), torch.tensor(1.0))
    with pytest.raises(TrainingError, match=message):
        sigmoid_loss(torch.ones(images), torch.ones(texts), torch.tensor(1.0), torch.tensor(0.0))


def test_a_scale_of_many_numbers_and_a_chunk_of_no_rows_are_refused() -> None:
    images, texts, scale = given(3, 1.0)
    with pytest.raises(TrainingError, match=r"shape \[\] and \[3\]; expected one number"):
        sigmoid_loss(images, texts, scale, torch.ones(3))
    with pytest.raises(TrainingError, match="chunk is 0; expected at least one row"):
        softmax_loss(images, texts, scale, chunk=0)
