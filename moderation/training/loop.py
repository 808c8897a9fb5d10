"""The training loop: one run from a TOML file, top to bottom, resumable at any saved step with the same next losses."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from moderation.encoder.generic import quiet_transformers
from moderation.errors import TrainingError
from moderation.training import checkpoint
from moderation.training.config import DrawingRun, PairRun, Run, read_config
from moderation.training.drawings import Drawings
from moderation.training.gradient_cache import cached_backward
from moderation.training.log import Log
from moderation.training.pairing import Pairing
from moderation.training.ranks import average_gradients
from moderation.training.spread import clip_gradients, is_spread
from moderation.training.state import FILE, State, parameters
from moderation.training.task import Rank, Task
from moderation.training.tower import learning_mode


@dataclass(frozen=True, slots=True)
class Progress:
    """One step as it went; `pictures_per_second` counts the whole step, `told` is what the task watches."""

    step: int
    steps: int
    loss: float
    rate: float
    pictures_per_second: float
    told: Mapping[str, float]

    def values(self) -> dict[str, float]:
        """What a log keeps of it."""
        return {"loss": self.loss, "rate": self.rate, "pictures_per_second": self.pictures_per_second, **self.told}


def train(
    config_path: Path,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> Path:
    """Train as the file says and return the last checkpoint's path; raises TrainingError where it cannot start or go on.

    `note` gets what should be known of the data, before the first step and after the last. Started by torchrun, its
    processes train one model together; the first of them saves and tells.
    """
    run = read_config(config_path)
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.manual_seed(run.seed)
    with ranks() as rank, quiet_transformers(), contextlib.closing(make_task(run, rank)) as task:
        state = State(run, task, rank)
        if not resume and state.path.exists():
            raise TrainingError(f"{state.path}: a run is here already; resume it or choose another folder")
        start = state.restore() if resume else 0
        with Log(run.out, start, quiet=rank.number > 0) as log:
            said = _note_new(run, task, note, rank, said=())
            for one in steps(run, rank, task, state, start):
                log.write(one.step, one.values())
                if rank.number == 0:
                    progress(one)
            _note_new(run, task, note, rank, said=said)
        if isinstance(task, Pairing):
            task.export(state.average.model)
    return state.path


def _note_new(run: Run, task: Task, note: Callable[[str], None], rank: Rank, *, said: Sequence[str]) -> Sequence[str]:
    """Note what was not said before, on the first rank, and return all that was."""
    remarks = [*run.remarks(), *task.remarks()] if rank.number == 0 else []
    for remark in remarks:
        if remark not in said:
            note(remark)
    return remarks


def make_task(run: Run, rank: Rank) -> Task:
    """What the run trains."""
    if isinstance(run, PairRun):
        return Pairing(run, rank)
    if rank.world > 1:
        raise TrainingError("task 'drawings' trains in one process: its soft targets are of the whole batch")
    assert isinstance(run, DrawingRun), "there are two kinds of run"  # noqa: S101
    return Drawings(run, rank)


def steps(run: Run, rank: Rank, task: Task, state: State, start: int) -> Iterator[Progress]:
    """Every step from `start` on, as it went; raises TrainingError where a loss is no number."""
    model = _wrapped(task, rank)
    learned = parameters(task.model)
    learning_mode(task.model)
    began = time.perf_counter()
    for step, given in enumerate(task.batches(start, run.steps), start=start):
        torch.manual_seed(step_seed(run.seed, step, rank.number))
        for group in state.optimiser.param_groups:
            group["lr"] = group["full_rate"] * run.rate_share(step)
        state.optimiser.zero_grad(set_to_none=True)
        loss = _backward(run, rank, task, model, given)
        norm = clip_gradients(learned, run.optimiser.clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingError(
                _stopped(run, rank, task, step, given, told=f"{loss.item()} and its gradient's norm {norm.item()}")
            )
        state.optimiser.step()
        task.settle()
        state.average.update(task.model, step)
        rate, told = run.batch / (time.perf_counter() - began), dict(task.told(given))
        if rank.number == 0:
            # Before the checkpoint: a run that is killed while it measures goes on before this step, and loses no line of its log.
            told |= task.valid(state.average.model, step + 1)
        if (step + 1) % run.save_every == 0 or step + 1 == run.steps:
            state.save(step + 1)
        yield Progress(step + 1, run.steps, loss.item(), state.optimiser.param_groups[0]["lr"], rate, told)
        began = time.perf_counter()


def _wrapped(task: Task, rank: Rank) -> nn.Module:
    """The module whose gradients are averaged over ranks as they come; one that is spread does that by itself."""
    if rank.world == 1 or is_spread(task.model):
        return task.model
    return DistributedDataParallel(task.model, device_ids=[rank.device.index] if rank.device.type == "cuda" else None)


def _backward(run: Run, rank: Rank, task: Task, model: nn.Module, given: Any) -> Tensor:
    """Gradients of a step's loss on this rank's parameters, averaged over ranks; the loss, averaged too."""
    parts = task.parts(given)

    def forward(module: nn.Module, part: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.autocast(rank.device.type, dtype=torch.bfloat16, enabled=run.precision == "bf16"):
            made = module(*part)
        return (made,) if isinstance(made, Tensor) else made

    if len(parts) == 1:
        loss = task.loss(forward(model, parts[0]), given)
        loss.backward()  # type: ignore[no-untyped-call]
    else:
        # Each portion runs backward on its own; gradients are averaged once, after all of them.
        loss = cached_backward(
            lambda part: _two(forward(task.model, part)), parts, lambda *made: task.loss(made, given)
        )
    if rank.world > 1 and (len(parts) > 1 or is_spread(task.model)):
        average_gradients(one for one in parameters(task.model) if not isinstance(one, DTensor))
    loss = loss.detach().clone()
    if rank.world > 1:
        distributed.all_reduce(loss)
        loss /= rank.world
    return loss


def _two(made: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    images, texts = made
    return images, texts


def _stopped(run: Run, rank: Rank, task: Task, step: int, given: Any, *, told: str) -> str:
    """Save this rank's part of the batch that broke the run, with the records it was read from, and say where it lies."""
    part = f"-rank-{rank.number}" if rank.world > 1 else ""
    path, last = run.out / f"bad-step-{step + 1}{part}.safetensors", run.out / FILE
    checkpoint.save(path, task.tensors(given), {"step": step + 1, "records": list(task.records(given))})
    good = f"the last good state is {last}" if last.exists() else "no state was saved yet"
    return f"step {step + 1}: the loss is {told}; the batch is in {path}, {good}"


def step_seed(seed: int, step: int, rank: int) -> int:
    """What the random numbers of one step on one rank come from (dropout, patches): nothing has to be replayed on resume."""
    return int(np.random.default_rng([seed, 2, step, rank]).integers(2**62))


@contextlib.contextmanager
def ranks() -> Iterator[Rank]:
    """This process among those that torchrun started; alone where it did not."""
    world, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if world == 1:
        yield Rank(0, 1, device)
        return
    if cuda:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Rank(distributed.get_rank(), world, device)
    finally:
        distributed.destroy_process_group()
