"""The contrastive loss against plain formulas."""

from __future__ import annotations

import torch

from moderation.training.loss import contrastive, targets


def unit(n: int, seed: int, width: int = 8) -> torch.Tensor:
    vectors = torch.randn(n, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vectors, dim=1)


def test_distinct_objects_give_the_plain_clip_loss() -> None:
    images, texts, scale = unit(5, 1), unit(5, 2), torch.tensor(7.0)
    wanted = targets(torch.arange(5), texts, neighbours=0.0, temperature=0.1)
    expected = 0.0
    for i in range(5):
        down = sum(torch.exp(scale * images[i] @ texts[j]) for j in range(5))
        up = sum(torch.exp(scale * images[j] @ texts[i]) for j in range(5))
        own = torch.exp(scale * images[i] @ texts[i])
        expected += -(torch.log(own / down) + torch.log(own / up)).item() / 10
    assert abs(contrastive(images, texts, wanted, scale).item() - expected) < 1e-6


def test_pictures_of_one_object_are_not_negatives_of_each_other() -> None:
    wanted = targets(torch.tensor([0, 1, 0]), unit(3, 1), neighbours=0.0, temperature=0.1)
    assert wanted.tolist() == [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]


def test_neighbours_share_mass_by_likeness_and_rows_sum_to_one() -> None:
    texts = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.0, 0.0]])
    wanted = targets(torch.arange(3), texts, neighbours=0.4, temperature=0.5)
    assert torch.allclose(wanted.sum(1), torch.ones(3))
    near = torch.exp(torch.tensor([1.0, 0.8, -1.0]) / 0.5)
    expected = 0.4 * near / near.sum() + 0.6 * torch.tensor([1.0, 0.0, 0.0])
    assert torch.allclose(wanted[0], expected)


def test_a_perfect_match_at_a_high_scale_costs_what_the_soft_targets_cannot_give() -> None:
    texts = torch.eye(4)
    hard = contrastive(texts, texts, torch.eye(4), torch.tensor(50.0))
    assert hard.item() < 1e-6
