"""What must hold of the contrastive losses whatever the batch: chunks, order, rotation, extremes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from moderation.training.chunked import sigmoid_loss, softmax_loss

Loss = Callable[..., Tensor]
ROWS, WIDTHS, SEEDS, CHUNKS = st.integers(1, 20), st.integers(1, 9), st.integers(0, 9999), st.integers(1, 25)
SCALES = st.floats(0.0, 100.0)
LOSSES = st.sampled_from([(softmax_loss, ()), (sigmoid_loss, (torch.tensor(-5.0, dtype=torch.float64),))])


def unit(n: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, n, width, generator=generator, dtype=torch.float64)
    return functional.normalize(images), functional.normalize(texts)


def learned(loss: tuple[Loss, tuple[Tensor, ...]], *inputs: Tensor, chunk: int = 256) -> list[Tensor]:
    """The loss and the gradients of images, texts, scale and, where there is one, bias."""
    function, more = loss
    leaves = [one.detach().clone().requires_grad_() for one in (*inputs, *more)]
    value = function(*leaves, chunk=chunk)
    value.backward()
    return [value.detach(), *(leaf.grad for leaf in leaves)]


def near(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@given(loss=LOSSES, n=ROWS, seed=SEEDS, scale=SCALES, chunk=CHUNKS)
def test_the_chunk_changes_nothing(
    loss: tuple[Loss, tuple[Tensor, ...]], n: int, seed: int, scale: float, chunk: int
) -> None:
    inputs = (*unit(n, 5, seed), torch.tensor(scale, dtype=torch.float64))
    near(learned(loss, *inputs, chunk=chunk), learned(loss, *inputs, chunk=n))


@given(loss=LOSSES, n=ROWS, width=WIDTHS, seed=SEEDS, scale=SCALES)
def test_pairs_in_another_order_have_the_same_loss_and_their_own_gradients(
    loss: tuple[Loss, tuple[Tensor, ...]], n: int, width: int, seed: int, scale: float
) -> None:
    images, texts = unit(n, width, seed)
    factor = torch.tensor(scale, dtype=torch.float64)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    value, for_images, for_texts, *numbers = learned(loss, images, texts, factor, chunk=3)
    near(
        learned(loss, images[order], texts[order], factor, chunk=3),
        [value, for_images[order], for_texts[order], *numbers],
    )


@given(loss=LOSSES, n=ROWS, width=WIDTHS, seed=SEEDS, scale=SCALES)
def test_turning_both_sides_alike_turns_only_the_gradients(
    loss: tuple[Loss, tuple[Tensor, ...]], n: int, width: int, seed: int, scale: float
) -> None:
    images, texts = unit(n, width, seed)
    factor = torch.tensor(scale, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
    value, for_images, for_texts, *numbers = learned(loss, images, texts, factor)
    near(learned(loss, images @ turn, texts @ turn, factor), [value, for_images @ turn, for_texts @ turn, *numbers])


@given(n=ROWS, seed=SEEDS, scale=SCALES)
def test_the_softmax_is_symmetric_and_between_nothing_and_what_the_scale_allows(
    n: int, seed: int, scale: float
) -> None:
    images, texts = unit(n, 8, seed)
    factor = torch.tensor(scale, dtype=torch.float64)
    value = softmax_loss(images, texts, factor, chunk=4)
    torch.testing.assert_close(value, softmax_loss(texts, images, factor, chunk=4))
    assert -1e-12 <= value.item() <= 2 * scale + torch.tensor(float(n)).log().item() + 1e-6


@given(loss=LOSSES, n=ROWS, seed=SEEDS, worst=st.booleans(), scale=st.sampled_from([100.0, 1e4, 1e6]))
def test_extreme_scales_stay_finite_in_float32(
    loss: tuple[Loss, tuple[Tensor, ...]], n: int, seed: int, worst: bool, scale: float
) -> None:
    images, texts = (one.float() for one in unit(n, 8, seed))
    texts = -images if worst else texts
    function, more = loss
    found = learned((function, tuple(one.float() for one in more)), images, texts, torch.tensor(scale), chunk=4)
    assert all(one.isfinite().all() for one in found)


@given(loss=LOSSES, n=ROWS, seed=SEEDS, chunk=CHUNKS, where=st.sampled_from(["images", "texts", "scale"]))
def test_a_nan_anywhere_is_a_nan_of_the_loss(
    loss: tuple[Loss, tuple[Tensor, ...]], n: int, seed: int, chunk: int, where: str
) -> None:
    images, texts = unit(n, 8, seed)
    inputs = {"images": images, "texts": texts, "scale": torch.ones((), dtype=torch.float64)}
    inputs[where].view(-1)[seed % inputs[where].numel()] = torch.nan
    value, *gradients = learned(loss, *inputs.values(), chunk=chunk)
    assert value.isnan()
    assert all(one.isnan().any() for one in gradients)
