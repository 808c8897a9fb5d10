"""The task of pictures with captions: both towers, or what is not locked of them, learn to match each pair of the batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from moderation.training.chunked import sigmoid_loss, softmax_loss
from moderation.training.config import PairRun
from moderation.training.crop import RandomCrop
from moderation.training.data import Order
from moderation.training.dual import Dual
from moderation.training.export import write_encoder
from moderation.training.loader import Loader
from moderation.training.mixing import Before
from moderation.training.places import open_pairs
from moderation.training.spread import is_spread, wholes
from moderation.training.start import Start, make_start
from moderation.training.task import Group, Rank
from moderation.training.teacher import Teacher
from moderation.training.tokens import padded
from moderation.training.validation import Validation


@dataclass(frozen=True, slots=True)
class Batch:
    """This rank's pairs of one step: pixels float32 [n, 3, s, s], token ids and mask int64 [n, t], captions, and keys of the records."""

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    captions: Sequence[str]
    keys: Sequence[str]


class Pairing:
    """A run's towers, tokenizer and pictures."""

    def __init__(self, run: PairRun, rank: Rank) -> None:
        self._run, self._device, self._rank = run, rank.device, rank.number
        self._start: Start = make_start(run)
        self.model: Dual = self._start.dual.to(rank.device)
        self.model.bias.requires_grad_(run.loss.kind == "sigmoid")  # the softmax does not see it
        self._before = Before(self.model) if run.keep_start else None
        if run.model.compile:
            self.model.compile()
        self._teacher = Teacher(run.loss.teacher, self.model.card, rank.device) if run.loss.teacher else None
        card = self.model.card.image
        assert card is not None, "a dual encoder reads pictures"  # noqa: S101
        self._validation = (
            Validation(run.valid, self._start.tokenizer, card, rank.device) if run.valid and rank.number == 0 else None
        )
        pairs = self._pairs = open_pairs(run.data.pairs, split=run.data.split)
        self._loader = Loader(
            pairs,
            RandomCrop(card, area=(run.data.smallest_crop, 1.0), mirror=0.5 if run.data.mirror else 0.0),
            order=Order(np.ones(len(pairs)), batch=run.batch, seed=run.seed),
            seed=run.seed,
            threads=run.data.loaders,
            rank=rank.number,
            ranks=rank.world,
        )

    def groups(self) -> list[Group]:
        """New parts at the full rate, what was trained before at the towers' rate."""
        rates, new = self._run.optimiser, self._start.new
        named = list(self.model.model.named_parameters())
        joints = [one for name, one in named if name in new or name.endswith(("logit_scale", "logit_bias"))]
        rest = [one for name, one in named if not any(one is joint for joint in joints)]
        return [Group(rest, rates.tower_rate), Group([*joints, self.model.bias], rates.rate)]

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """What each step trains on, on this rank."""
        for loaded in self._loader.batches(start, stop):
            ids, mask = padded(self._start.tokenizer, loaded.captions)
            yield Batch(
                loaded.pixels.to(self._device),
                ids.to(self._device),
                mask.to(self._device),
                loaded.captions,
                loaded.keys,
            )

    def parts(self, batch: Batch) -> Sequence[Sequence[Tensor]]:
        """All pairs at once, or `sub_batch` at a time."""
        size = self._run.loss.sub_batch or len(batch.pixels)
        sides = (batch.pixels, batch.ids, batch.mask)
        return list(zip(*(torch.split(side, size) for side in sides), strict=True))

    def loss(self, features: Sequence[Tensor], batch: Batch) -> Tensor:
        """Softmax or sigmoid over the pairs of all ranks, and the teacher's word on this rank's where there is one."""
        images, texts = features
        settings, scale = self._run.loss, self.model.scale()
        if settings.kind == "softmax":
            own = softmax_loss(images, texts, scale, chunk=settings.chunk)
        else:
            own = sigmoid_loss(images, texts, scale, self.model.bias, chunk=settings.chunk)
        if self._teacher is None:
            return own
        taught = self._teacher.loss(images, texts, batch.pixels, batch.captions)
        return torch.lerp(own, taught, settings.teacher_share)

    def told(self, batch: Batch) -> Mapping[str, float]:
        """The scale, the size, the share of time waited for data, and how many records were replaced so far."""
        told = {"scale": self.model.scale().item(), "size": batch.pixels.shape[-1], "tokens": batch.ids.shape[1]}
        return {**told, "waited": self._loader.wait_share, "broken": self._loader.broken.total}

    def tensors(self, batch: Batch) -> Mapping[str, Tensor]:
        """The batch's own tensors."""
        return {"pixels": batch.pixels, "ids": batch.ids, "mask": batch.mask}

    def export(self, average: nn.Module) -> None:
        """Write the run's encoder, its averaged weights, as a checkpoint folder that transformers and our encoder load.

        The first rank writes; where weights are spread, all have to call this together.
        """
        dual = cast("Dual", average)
        if is_spread(average):
            dual, held = make_start(self._run).dual, {name: one.cpu() for name, one in wholes(average.state_dict())}
            dual.load_state_dict(held)
        if self._rank == 0:
            mixed, metrics = self._mixed(dual.to(self._device))
            write_encoder(self._run.out, mixed, self._start.tokenizer, metrics)

    def _mixed(self, dual: Dual) -> tuple[Dual, Mapping[str, Any]]:
        """What was learned, or a mixture with the start, with what each share of it measured where that was chosen."""
        keep = self._run.keep_start
        if self._before is None:
            return dual, {}
        if keep != "best":
            return self._before.mixed(dual, keep), {}
        assert self._validation is not None, "checked by the configuration"  # noqa: S101
        choice = self._before.best(dual, self._validation.recall)
        tried = {str(share): recall for share, recall in choice.tried.items()}
        return self._before.mixed(dual, choice.keep), {"keep_start": choice.keep, "valid_recall_by_keep_start": tried}

    def valid(self, average: nn.Module, step: int) -> Mapping[str, float]:
        """Retrieval on the run's captioned set, where there is one and it is due."""
        settings = self._run.valid
        if settings is None or self._validation is None or (step % settings.every and step != self._run.steps):
            return {}
        return self._validation.recalls(cast("Dual", average))

    def settle(self) -> None:
        """The scale stays within its bounds."""
        self.model.bound_scale()

    def facts(self) -> Mapping[str, Any]:
        """How many pairs there are: the order hangs on it."""
        return {"pairs": len(self._pairs)}

    def records(self, batch: Batch) -> Sequence[str]:
        """The records' keys, each with the caption that was read."""
        return [f"{key}: {caption}" for key, caption in zip(batch.keys, batch.captions, strict=True)]

    def remarks(self) -> Sequence[str]:
        """The records that were left out from the beginning, and those that another took the place of."""
        left, broken = self._pairs.broken, self._loader.broken
        left_out = f"{left.total} of {left.total + len(self._pairs)} records are left out: {left}"
        replaced = f"{broken.total} times a record could not be read and another took its place: {broken}"
        return [*([left_out] if left.total else []), *([replaced] if broken.total else [])]

    def close(self) -> None:
        """End the threads that read ahead."""
        self._loader.close()
