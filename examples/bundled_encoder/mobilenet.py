"""Reads Google's ImageNet MobileNetV2 (quantised, Apache-2.0) into transformers' MobileNetV2Model, ready to be trained further."""

from pathlib import Path

import numpy as np
import tflite
import torch
from torch import Tensor, nn
from transformers import MobileNetV2Config, MobileNetV2Model


def read_convolutions(path: Path) -> list[tuple[Tensor, Tensor]]:
    """(weight [out, in, h, w], bias [out]) of every convolution in order, the classifier last, as floats."""
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)

    def values(index: int, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tensor = graph.Tensors(index)
        raw = np.frombuffer(model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), dtype).reshape(
            tensor.ShapeAsNumpy()
        )
        quantisation = tensor.Quantization()
        return raw.astype(np.float64), quantisation.ScaleAsNumpy(), quantisation.ZeroPointAsNumpy()

    found = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        code = model.OperatorCodes(op.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind not in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
            continue
        _, weight_index, bias_index = op.InputsAsNumpy()
        raw, scale, zero = values(weight_index, np.uint8)
        bias, bias_scale, _ = values(bias_index, np.int32)
        weight = (raw - zero[0]) * scale[0]
        order = (3, 0, 1, 2) if kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D else (0, 3, 1, 2)
        found.append((torch.tensor(weight.transpose(order)).float(), torch.tensor(bias * bias_scale).float()))
    return found


def load_pretrained(path: Path, *, tf_padding: bool = True) -> tuple[MobileNetV2Model, tuple[Tensor, Tensor]]:
    """The pretrained tower (its batch norms folded into bias for now) and the classifier's (weight, bias)."""
    convolutions = read_convolutions(path)
    # hidden_size is what VisionTextDualEncoderModel reads the width of the pooled output from
    config = MobileNetV2Config(image_size=96, hidden_size=1280, tf_padding=tf_padding, layer_norm_eps=1e-3)
    model = MobileNetV2Model(config)
    layers = [m for m in model.modules() if type(m).__name__ == "MobileNetV2ConvLayer"]
    if len(layers) != len(convolutions) - 1:
        raise ValueError(f"{path}: {len(convolutions) - 1} convolutions found, {len(layers)} expected")
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, convolutions, strict=False):
            layer.convolution.weight.copy_(weight)
            norm = layer.normalization
            norm.weight.fill_((1.0 + norm.eps) ** 0.5)
            norm.bias.copy_(bias)
    return model, convolutions[-1]


@torch.no_grad()
def unfold_batch_norms(model: nn.Module, pixels: Tensor) -> None:
    """Give every batch norm the statistics of its input on `pixels`, without changing what the model computes."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        seen[norm] = (inputs[0].mean(dim=(0, 2, 3)), inputs[0].var(dim=(0, 2, 3)))

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    model.eval()(pixels)
    for norm, hook in zip(norms, hooks, strict=True):
        hook.remove()
        mean, variance = seen[norm]
        variance = variance.clamp_min(1e-3)
        norm.bias.copy_(norm.bias + mean)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
