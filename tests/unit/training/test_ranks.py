"""Two and three real gloo processes against one plain process on the whole batch, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from moderation.errors import TrainingError
from moderation.training.chunked import sigmoid_loss, softmax_loss
from moderation.training.gradient_cache import cached_backward
from moderation.training.ranks import average_gradients, world_of
from tests.unit.training import forked
from tests.unit.training.test_chunked import plain_sigmoid, plain_softmax

ROWS = 12
Loss = Callable[..., Tensor]


class Model(nn.Module):
    """Two small towers; the scale and the bias are among what DDP averages."""

    def __init__(self) -> None:
        super().__init__()
        self.images, self.texts = nn.Linear(6, 8), nn.Linear(5, 8)
        self.scale, self.bias = nn.Parameter(torch.tensor(7.0)), nn.Parameter(torch.tensor(-2.0))

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, ...]:
        return functional.normalize(self.images(images)), functional.normalize(self.texts(texts)), *self.numbers()

    def numbers(self) -> tuple[Tensor, Tensor]:
        return self.scale * 1, self.bias * 1


def made() -> tuple[Model, Tensor, Tensor]:
    torch.manual_seed(0)
    return Model().double(), torch.randn(ROWS, 6, dtype=torch.float64), torch.randn(ROWS, 5, dtype=torch.float64)


def softmax(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return softmax_loss(images, texts, scale, chunk=2) + 0 * bias


def sigmoid(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return sigmoid_loss(images, texts, scale, bias, chunk=2)


def whole_softmax(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return plain_softmax(images, texts, scale) + 0 * bias


def gradients(model: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in model.parameters()]


def own_rows(rank: int, world: int, *, uneven: bool) -> slice:
    bounds = [ROWS * at // world for at in range(world + 1)]
    if uneven:
        bounds = [0, *(bound + 1 for bound in bounds[1:-1]), ROWS]
    return slice(bounds[rank], bounds[rank + 1])


def a_step_under_ddp(rank: int, world: int) -> None:
    for ours, plain in ((softmax, whole_softmax), (sigmoid, plain_sigmoid)):
        for uneven in (False, True):
            model, images, texts = made()
            alone = copy.deepcopy(model)
            expected = plain(*alone(images, texts))
            expected.backward()
            rows = own_rows(rank, world, uneven=uneven)
            together = DistributedDataParallel(model)
            value = ours(*together(images[rows], texts[rows]))
            value.backward()
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(gradients(model), gradients(alone), rtol=1e-12, atol=1e-12)


def a_cached_step(rank: int, world: int) -> None:
    model, images, texts = made()
    alone = copy.deepcopy(model)
    plain_sigmoid(*alone(images, texts)).backward()
    rows = own_rows(rank, world, uneven=True)
    parts = list(zip(images[rows].split(2), texts[rows].split(2), strict=True))
    cached_backward(lambda part: model(*part)[:2], parts, lambda *features: sigmoid(*features, *model.numbers()))
    average_gradients(model.parameters())
    torch.testing.assert_close(gradients(model), gradients(alone), rtol=1e-12, atol=1e-12)


def a_locked_tower(rank: int, world: int) -> None:
    model, images, texts = made()
    model.texts.requires_grad_(requires_grad=False)
    alone = copy.deepcopy(model)
    whole_softmax(*alone(images, texts)).backward()
    rows = own_rows(rank, world, uneven=False)
    together = DistributedDataParallel(model)
    softmax(*together(images[rows], texts[rows])).backward()
    torch.testing.assert_close(gradients(model), gradients(alone), rtol=1e-12, atol=1e-12)


def a_nan_of_one_rank_is_everyones(rank: int, world: int) -> None:
    model, images, texts = made()
    images[0] = torch.nan
    rows = own_rows(rank, world, uneven=False)
    for loss in (softmax, sigmoid):
        assert loss(*model(images[rows], texts[rows])).isnan()


def shapes_of_one_rank_stop_all(rank: int, world: int) -> None:
    rows = torch.ones(2, 4) if rank else torch.ones(0, 4)
    with pytest.raises(TrainingError, match=r"image features \[0, 4\] and text features \[0, 4\] on rank 0; expected"):
        softmax_loss(rows, rows, torch.ones(()))
    wide = torch.ones(2, 5) if rank == world - 1 else torch.ones(2, 4)
    with pytest.raises(TrainingError, match=rf"\[2, 5\] on rank {world - 1}; expected \[rows, 4\] of both"):
        softmax_loss(wide, wide, torch.ones(()))


def a_group_of_one_counts_its_own_rows_only(rank: int, world: int) -> None:
    own = [distributed.new_group([one]) for one in range(world)][rank]
    assert (world_of(own), world_of(None)) == (1, world)
    model, images, texts = made()
    rows = own_rows(rank, world, uneven=True)
    features = model(images[rows], texts[rows])
    found = softmax_loss(*features[:3], ranks=own)
    torch.testing.assert_close(found, plain_softmax(*features[:3]), rtol=1e-12, atol=1e-12)


def gradients_that_only_one_rank_has(rank: int, world: int) -> None:
    learning, locked = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2), requires_grad=False)
    learning.grad = torch.full((2,), 6.0) if rank == 0 else None
    average_gradients([learning, locked])
    assert learning.grad is not None
    assert learning.grad.tolist() == [6.0 / world] * 2
    assert locked.grad is None


CHECKS = [
    a_step_under_ddp,
    a_cached_step,
    a_locked_tower,
    a_nan_of_one_rank_is_everyones,
    shapes_of_one_rank_stop_all,
    a_group_of_one_counts_its_own_rows_only,
    gradients_that_only_one_rank_has,
]


def work(rank: int, world: int, meeting: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    for check in CHECKS:
        check(rank, world)
    distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_together_are_one_rank_on_the_whole_batch(world: int, tmp_path: Path) -> None:
    """All CHECKS in one start of the processes, which is what takes the time; a failure names its check in the traceback."""
    forked.prepare()  # or each process would import torch anew
    meeting = (tmp_path / "meeting").as_uri()
    multiprocessing.start_processes(work, args=(world, meeting), nprocs=world, start_method="forkserver")


def test_without_other_ranks_gradients_stay_as_they_are() -> None:
    parameter = nn.Parameter(torch.ones(2))
    average_gradients([parameter])
    assert parameter.grad is None
    assert world_of(None) == 1
