"""Augmentation: deterministic, in range, light at strength zero, and its block compression like JPEG's."""

from __future__ import annotations

import torch

from moderation.training.augment import Augment, _compress


def drawings(n: int = 16) -> torch.Tensor:
    """A red square on nothing."""
    found = torch.zeros(n, 48, 48, 4, dtype=torch.uint8)
    found[:, 12:36, 12:36] = torch.tensor([200, 30, 30, 255], dtype=torch.uint8)
    return found


def augmented(strength: float, seed: int = 1) -> torch.Tensor:
    return Augment(torch.Generator().manual_seed(seed), strength)(drawings(), 32, torch.rand(4, 3, 20, 20))


def test_the_same_generator_gives_the_same_pictures() -> None:
    torch.manual_seed(0)
    one = augmented(1.0)
    torch.manual_seed(0)
    assert torch.equal(one, augmented(1.0))
    assert not torch.equal(one, augmented(1.0, seed=2))


def test_pictures_are_in_range_and_of_the_size_asked() -> None:
    for strength in (0.0, 0.5, 1.0):
        pictures = augmented(strength)
        assert pictures.shape == (16, 3, 32, 32)
        assert pictures.isfinite().all()
        assert pictures.min() >= 0
        assert pictures.max() <= 1


def test_strength_zero_leaves_the_drawing_in_the_middle() -> None:
    middle = augmented(0.0)[:, :, 14:18, 14:18].mean(dim=(2, 3))
    assert torch.allclose(middle, torch.tensor([200.0, 30.0, 30.0]) / 255, atol=0.15)


def test_compression_keeps_flat_blocks_and_coarsens_fine_ones() -> None:
    flat = torch.full((1, 3, 18, 18), 0.5)
    steps = torch.full((1, 1, 1, 1), 0.1)
    assert torch.allclose(_compress(flat, steps), flat, atol=0.02)
    noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    faint = 0.5 + 0.02 * noise
    assert _compress(faint, steps).var() < 0.1 * faint.var()
    assert torch.allclose(_compress(noise, steps / 1e5), noise, atol=1e-3)
