"""Contrastive losses of big batches: CLIP's softmax and SigLIP's sigmoid, chunk by chunk, with every rank's rows as negatives.

The N x N matrix of similarities is never held: the forward pass streams over chunks of its rows, the backward pass computes
each chunk once more from the features. That is one product of the features more than the plain loss, and no tower runs twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from moderation.errors import TrainingError
from moderation.training.ranks import Group, Share, stacked

CHUNK = 256
Slope = Callable[[slice, Tensor, Tensor], None]


def softmax_loss(
    images: Tensor, texts: Tensor, scale: Tensor, *, chunk: int = CHUNK, ranks: Group | None = None
) -> Tensor:
    """CLIP's loss: the mean of the image-to-text and text-to-image cross entropies of scale * images @ texts.T, a scalar.

    `images`, `texts` [n, d], row i of one belonging to row i of the other, unit length as a rule; `scale` one number, learned.
    Memory is O(n * d + N * chunk), N being the rows of all ranks. Formula: Radford et al., arXiv 2103.00020, figure 3; both
    log-sum-exps are streamed in one pass, since each chunk of rows has whole rows and a part of every column.

    Works in float32, float64 where the features are that, also under autocast: a bfloat16 logit near 100 moves in steps of 0.5.
    To run the products on tensor cores set torch's own float32 matmul precision; bfloat16 features lose nothing in TF32.

    Over ranks (`ranks`, by default all of torch.distributed's where it is initialised; counts may differ) every rank gives its
    rows, calls this together with the others and gets the loss L of the whole batch. Its gradients are world * dL/d(own rows), and
    for the scale world * (the part of dL/dscale from its rows): the sum over ranks of what they got, as torch.distributed.nn
    differentiates, so that the mean which DDP takes over ranks of the gradients of the parameters is dL/d(parameter).

    Raises TrainingError, on all ranks alike, where shapes differ or a rank has no rows. A NaN in the features gives a NaN loss.
    """
    share = _share(images, texts, (scale,), chunk=chunk, ranks=ranks)
    with torch.autocast(images.device.type, enabled=False):
        value: Tensor = _Softmax.apply(*_one_dtype(images, texts, scale), share, chunk)
    return value


def sigmoid_loss(
    images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, *, chunk: int = CHUNK, ranks: Group | None = None
) -> Tensor:
    """SigLIP's loss: every pair of the batch as a yes-or-no question, -sum log sigmoid(+-(scale * images @ texts.T + bias)) / N.

    The sign is plus for the pairs (i, i) and minus for all others; `bias` is one number, learned as `scale` is. Shapes, memory,
    precision, ranks and errors as in `softmax_loss`. Formula: Zhai et al., arXiv 2303.15343, algorithm 1.
    """
    share = _share(images, texts, (scale, bias), chunk=chunk, ranks=ranks)
    with torch.autocast(images.device.type, enabled=False):
        value: Tensor = _Sigmoid.apply(*_one_dtype(images, texts, scale, bias), share, chunk)
    return value


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - `apply` knows no keywords
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, share: Share, chunk: int
    ) -> Tensor:
        pairs = _Pairs(images, share.gathered(texts), scale, scale.new_zeros(()), share.first, chunk)
        own_logits, along_rows = images.new_empty(2, share.count)
        along_columns = images.new_full((share.total,), -torch.inf)
        for rows, logits, own in pairs.chunks():
            own_logits[rows] = own
            along_rows[rows] = logits.logsumexp(1)
            along_columns = torch.logaddexp(along_columns, logits.logsumexp(0))
        along_columns = stacked(along_columns, share.ranks).logsumexp(0)
        pairs.keep(ctx, share, along_rows, along_columns)
        total = (along_rows + share.own(along_columns) - 2 * own_logits).sum()
        return share.summed(total) / (2 * share.total)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pairs, (along_rows, along_columns) = _Pairs.kept(ctx)

        def slope(rows: slice, logits: Tensor, own: Tensor) -> None:
            down = (logits - along_columns).exp_()
            logits.sub_(along_rows[rows, None]).exp_().add_(down)
            own.sub_(2)

        return *_gradients(ctx, pairs, slope, gradient / (2 * ctx.share.total))[:3], None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0917 - `apply` knows no keywords
        ctx: Any, images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, share: Share, chunk: int
    ) -> Tensor:
        pairs = _Pairs(images, share.gathered(texts), scale, bias, share.first, chunk)
        total = images.new_zeros(())
        for _, logits, own in pairs.chunks():
            own.neg_()
            # The threshold is where torch takes softplus(x) for x; its default of 20 costs 2e-9, this one nothing.
            total += functional.softplus(logits, threshold=50).sum()
        pairs.keep(ctx, share)
        return share.summed(total) / share.total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        pairs, _ = _Pairs.kept(ctx)

        def slope(_: slice, logits: Tensor, own: Tensor) -> None:
            own.neg_()
            logits.sigmoid_()
            own.neg_()

        return *_gradients(ctx, pairs, slope, gradient / ctx.share.total), None, None


@dataclass(frozen=True, slots=True)
class _Pairs:
    """This rank's images [n, d] against everyone's texts [N, d]; the text of image 0 is number `first`."""

    images: Tensor
    texts: Tensor
    scale: Tensor
    bias: Tensor
    first: int
    chunk: int

    def chunks(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """The rows of each chunk, their logits [chunk, N] and, as a view of these, the logits of their own pairs [chunk].

        One buffer serves all chunks, to be read or overwritten before the next.
        """
        count = len(self.images)
        buffer = self.images.new_empty(min(self.chunk, count), len(self.texts))
        for start in range(0, count, self.chunk):
            rows = slice(start, min(start + self.chunk, count))
            logits = buffer[: rows.stop - start]
            torch.addmm(self.bias, self.images[rows] * self.scale, self.texts.T, out=logits)
            yield rows, logits, logits[:, self.first + start : self.first + rows.stop].diagonal()

    def keep(self, ctx: Any, share: Share, *more: Tensor) -> None:
        """Leaves all for the backward pass; torch notices a tensor that is changed in between."""
        ctx.save_for_backward(self.images, self.texts, self.scale, self.bias, *more)
        ctx.share, ctx.chunk = share, self.chunk

    @classmethod
    def kept(cls, ctx: Any) -> "tuple[_Pairs, list[Tensor]]":
        """What `keep` left, and the more of it."""
        images, texts, scale, bias, *more = ctx.saved_tensors
        return cls(images, texts, scale, bias, ctx.share.first, ctx.chunk), more


def _gradients(ctx: Any, pairs: _Pairs, slope: Slope, factor: Tensor) -> list[Tensor | None]:
    """The gradients of images, texts, scale and bias that are wanted; `slope` turns logits into dL/dlogits / factor, in place.

    With G for these, that of the images is scale * G @ texts and that of the scale the sum of images * (G @ texts). A locked tower
    wants none, which saves a product.
    """
    wanted, share = ctx.needs_input_grad, ctx.share
    images = torch.empty_like(pairs.images) if wanted[0] or wanted[2] else None
    texts = torch.zeros_like(pairs.texts) if wanted[1] else None
    scale, bias = pairs.scale.new_zeros(2)
    with torch.autocast(pairs.images.device.type, enabled=False):
        for rows, logits, own in pairs.chunks():
            slope(rows, logits, own)
            bias += logits.sum() if wanted[3] else 0
            if images is not None:
                torch.mm(logits, pairs.texts, out=images[rows])
                scale += (images[rows] * pairs.images[rows]).sum()
            if texts is not None:
                texts.addmm_(logits.T, pairs.images[rows])
        factor = factor * share.world
        if images is not None:
            images.mul_(pairs.scale * factor)
        if texts is not None:
            texts = share.own(share.summed(texts.mul_(pairs.scale * factor)))
    return [images, texts, scale * factor, bias * factor]


def _share(images: Tensor, texts: Tensor, numbers: tuple[Tensor, ...], *, chunk: int, ranks: Group | None) -> Share:
    """This rank's place in the batch, once the shapes of all ranks are found to fit."""
    if images.ndim != 2 or texts.ndim != 2:
        found = f"{list(images.shape)} and {list(texts.shape)}"
        raise TrainingError(f"the loss: features of shape {found}; expected [rows, width] of images and of texts")
    if any(number.numel() != 1 for number in numbers):
        found = " and ".join(str(list(number.shape)) for number in numbers)
        raise TrainingError(f"the loss: scale or bias of shape {found}; expected one number")
    if chunk < 1:
        raise TrainingError(f"the loss: chunk is {chunk}; expected at least one row")
    # Every rank looks at every rank's shapes, so that all raise together and none waits for one that did.
    shapes = stacked(torch.tensor([images.shape, texts.shape], device=images.device), ranks).tolist()
    for rank, (image, text) in enumerate(shapes):
        if image != text or 0 in image or image[1] != shapes[0][0][1]:
            where = f" on rank {rank}" if len(shapes) > 1 else ""
            expected = f"[rows, {shapes[0][0][1]}] of both, with at least one row"
            raise TrainingError(
                f"the loss: image features {image} and text features {text}{where}; expected {expected}"
            )
    return Share.of([image[0] for image, _ in shapes], ranks)


def _one_dtype(images: Tensor, texts: Tensor, *numbers: Tensor) -> list[Tensor]:
    """All in float32, or in float64 where a feature is that; the numbers without dimensions."""
    dtype = torch.promote_types(torch.promote_types(images.dtype, texts.dtype), torch.float32)
    return [images.to(dtype), texts.to(dtype), *(number.reshape(()).to(dtype) for number in numbers)]
