"""MobileNetV2 as transformers runs it, to the last bit, without its modelling code.

Source: Sandler et al. (2018), MobileNetV2; transformers' `MobileNetV2Model`, whose weights' names these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from moderation.encoder.weights import Weights

# Of the usual width: channels and strides of the blocks.
_CHANNELS = (16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320)
_STRIDES = (2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1)
_FIRST, _LAST, _EXPANDS = 32, 1280, 6
_USUAL = {
    "model_type": "mobilenet_v2",
    "depth_multiplier": 1.0,
    "expand_ratio": _EXPANDS,
    "first_layer_is_expansion": True,
    "num_channels": 3,
    "output_stride": 32,
    "hidden_act": "relu6",
    "hidden_size": _LAST,
    "tf_padding": True,
}


@dataclass(frozen=True, slots=True)
class _Convolution:
    """A convolution without bias, its batch norm, and a ReLU6 where it `ends` with one; padded as TensorFlow does, by what its stride needs."""

    weight: Tensor
    scale: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor
    eps: float
    stride: int
    groups: int
    ends: bool

    def __call__(self, x: Tensor) -> Tensor:
        if (size := self.weight.shape[-1]) > 1:
            down, across = (self._pads(side, size) for side in x.shape[-2:])
            x = functional.pad(x, (*across, *down))
        x = functional.conv2d(x, self.weight, stride=self.stride, groups=self.groups)
        x = functional.batch_norm(x, self.mean, self.variance, self.scale, self.shift, eps=self.eps)
        return functional.relu6(x, inplace=True) if self.ends else x

    def _pads(self, side: int, size: int) -> tuple[int, int]:
        pads = max(size - (side % self.stride or self.stride), 0)
        return pads // 2, pads - pads // 2


@dataclass(frozen=True, slots=True)
class _Block:
    """Expand, filter, reduce; added to what came in where that has the same shape."""

    steps: tuple[_Convolution, ...]
    adds: bool

    def __call__(self, x: Tensor) -> Tensor:
        made = x
        for step in self.steps:
            made = step(made)
        return made.add_(x) if self.adds else made


@dataclass(frozen=True, slots=True)
class MobileNet:
    """The image tower: normalised pixels [n, 3, size, size] into pooled features [n, 1280]."""

    blocks: tuple[_Block, ...]

    @staticmethod
    def is_whole(config: Mapping[str, Any]) -> bool:
        """Whether a config says all that is read of it, as its file has it."""
        return config.keys() >= _USUAL.keys() and isinstance(config.get("layer_norm_eps"), float)

    @staticmethod
    def fits(config: Mapping[str, Any]) -> bool:
        """Whether a config, with transformers' defaults in it, is of the form that this reads."""
        return _USUAL.items() <= config.items()

    @classmethod
    def of(cls, weights: Weights, config: Mapping[str, Any]) -> MobileNet:
        """From the weights under the tower's name. Raises UnusualError."""
        eps, made = config["layer_norm_eps"], []
        stem = weights.under("conv_stem")
        made.append(
            _Block(
                (
                    _convolution(stem.under("first_conv"), 3, _FIRST, eps, size=3, stride=2),
                    _convolution(stem.under("conv_3x3"), _FIRST, _FIRST, eps, size=3, each=True),
                    _convolution(stem.under("reduce_1x1"), _FIRST, _CHANNELS[0], eps, ends=False),
                ),
                adds=False,
            )
        )
        for at, stride in enumerate(_STRIDES):
            there, (into, out) = weights.under(f"layer.{at}"), _CHANNELS[at : at + 2]
            steps = (
                _convolution(there.under("expand_1x1"), into, _EXPANDS * into, eps),
                _convolution(
                    there.under("conv_3x3"), _EXPANDS * into, _EXPANDS * into, eps, size=3, stride=stride, each=True
                ),
                _convolution(there.under("reduce_1x1"), _EXPANDS * into, out, eps, ends=False),
            )
            made.append(_Block(steps, adds=stride == 1 and into == out))
        made.append(_Block((_convolution(weights.under("conv_1x1"), _CHANNELS[-1], _LAST, eps),), adds=False))
        return cls(tuple(made))

    def __call__(self, pixels: Tensor) -> Tensor:
        for block in self.blocks:
            pixels = block(pixels)
        return functional.adaptive_avg_pool2d(pixels, 1).flatten(1)


def _convolution(
    weights: Weights,
    into: int,
    out: int,
    eps: float,
    *,
    size: int = 1,
    stride: int = 1,
    each: bool = False,
    ends: bool = True,
) -> _Convolution:
    """One of these weights; `each` channel by itself or all together."""
    norm = weights.under("normalization")
    return _Convolution(
        weight=weights.take("convolution.weight", out, 1 if each else into, size, size),
        scale=norm.take("weight", out),
        shift=norm.take("bias", out),
        mean=norm.take("running_mean", out),
        variance=norm.take("running_var", out),
        eps=eps,
        stride=stride,
        groups=out if each else 1,
        ends=ends,
    )
