"""BERT's encoder as transformers runs it, to the last bit, without its modelling code.

Source: Devlin et al. (2019), BERT; transformers' `BertModel`, whose weights' names these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moderation.encoder.lean import Norm, norm
from moderation.encoder.weights import Weights

_USUAL = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "is_decoder": False,
    "add_cross_attention": False,
    "position_embedding_type": "absolute",
}
_READ = {
    "model_type": str, "vocab_size": int, "max_position_embeddings": int, "type_vocab_size": int, "hidden_size": int,
    "intermediate_size": int, "num_hidden_layers": int, "num_attention_heads": int, "layer_norm_eps": float,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class _Layer:
    """One block: attention, then two products, each added to what came in and normalised."""

    query: _Linear
    key: _Linear
    value: _Linear
    out: _Linear
    after_attention: Norm
    up: _Linear
    down: _Linear
    after: Norm
    heads: int

    def __call__(self, x: Tensor, mask: Tensor | None) -> Tensor:
        n, tokens, width = x.shape
        query, key, value = (
            one(x).view(n, tokens, self.heads, -1).transpose(1, 2) for one in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.after_attention(self.out(seen.transpose(1, 2).reshape(n, tokens, width)) + x)
        return self.after(self.down(functional.gelu(self.up(x))) + x)


@dataclass(frozen=True, slots=True)
class Hidden:
    """What transformers' models call what comes out: each token's vector [n, tokens, width], and `BertPooler`'s of the first one, [n, width]."""

    last_hidden_state: Tensor
    pooler_output: Tensor | None


@dataclass(frozen=True, slots=True)
class Bert:
    """The text tower. Its `pooler` may be missing where nobody asks for what it gives."""

    words: Tensor
    positions: Tensor
    kind: Tensor
    before: Norm
    layers: tuple[_Layer, ...]
    pooler: _Linear | None

    @staticmethod
    def is_whole(config: Mapping[str, Any]) -> bool:
        """Whether a config says all that is read of it, as its file has it."""
        return all(isinstance(config.get(name), kind) for name, kind in _READ.items())

    @staticmethod
    def fits(config: Mapping[str, Any]) -> bool:
        """Whether a config, with transformers' defaults in it, is of the form that this reads."""
        usual = all(config.get(name, usual) == usual for name, usual in _USUAL.items())
        heads = config.get("num_attention_heads", 0)
        return usual and heads > 0 and config["hidden_size"] % heads == 0

    @classmethod
    def of(cls, weights: Weights, config: Mapping[str, Any], *, pools: bool) -> Bert:
        """From the weights under the tower's name, with its pooler where it `pools`. Raises UnusualError."""
        width, embeddings = config["hidden_size"], weights.under("embeddings")
        layers = weights.under("encoder")
        return cls(
            words=embeddings.take("word_embeddings.weight", config["vocab_size"], width),
            positions=embeddings.take("position_embeddings.weight", config["max_position_embeddings"], width),
            kind=embeddings.take("token_type_embeddings.weight", config["type_vocab_size"], width)[0],
            before=norm(embeddings.under("LayerNorm"), config, weights.dtype),
            layers=tuple(_layer(layers.under(f"layer.{at}"), config) for at in range(config["num_hidden_layers"])),
            pooler=_linear(weights.under("pooler.dense"), width, width) if pools else None,
        )

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Hidden:
        """int64 [n, tokens], and which of them count."""
        x = self.before(self.words[input_ids] + self.kind + self.positions[: input_ids.shape[1]])
        # Where nothing is masked, attention runs its fast kernel, as transformers has it. What is recorded must do for any mask, and a GPU would be waited for.
        asks = attention_mask.device.type == "cpu" and not torch.compiler.is_compiling()
        whole = asks and bool(attention_mask.all())
        mask = None if whole else attention_mask[:, None, None, :].bool()
        for layer in self.layers:
            x = layer(x, mask)
        return Hidden(x, self.pooler(x[:, 0]).tanh() if self.pooler else None)


def _layer(weights: Weights, config: Mapping[str, Any]) -> _Layer:
    width, wide = config["hidden_size"], config["intermediate_size"]
    attention, after = weights.under("attention.self"), weights.under("attention.output")
    query, key, value = (_linear(attention.under(name), width, width) for name in ("query", "key", "value"))
    return _Layer(
        query=query,
        key=key,
        value=value,
        out=_linear(after.under("dense"), width, width),
        after_attention=norm(after.under("LayerNorm"), config, weights.dtype),
        up=_linear(weights.under("intermediate.dense"), width, wide),
        down=_linear(weights.under("output.dense"), wide, width),
        after=norm(weights.under("output.LayerNorm"), config, weights.dtype),
        heads=config["num_attention_heads"],
    )


def _linear(weights: Weights, into: int, out: int) -> _Linear:
    return _Linear(weights.take("weight", out, into), weights.take("bias", out))
