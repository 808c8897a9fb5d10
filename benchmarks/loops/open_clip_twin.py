"""open_clip's ViT-B/32 with the weights of transformers' CLIP. Its own interpreter imports this: it needs nothing of ours, and no transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

# Names of transformers' layers, and of open_clip's with the same weights and bias.
NORMS = {"vision_model.pre_layrnorm": "ln_pre", "vision_model.post_layernorm": "ln_post"}
BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def open_clip_twin(weights: Mapping[str, Any]) -> tuple[Any, Any]:
    """The model, from the state of a CLIPModel (as many layers as that has), and open_clip's own preprocessing."""
    import open_clip

    twin, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", pretrained=None)
    visual, embeddings = twin.visual, "vision_model.embeddings."
    layers = len({name.split(".")[3] for name in weights if name.startswith("vision_model.encoder.layers.")})
    visual.transformer.resblocks = visual.transformer.resblocks[:layers]
    state = {
        "class_embedding": weights[embeddings + "class_embedding"],
        "positional_embedding": weights[embeddings + "position_embedding.weight"],
        "conv1.weight": weights[embeddings + "patch_embedding.weight"],
        "proj": weights["visual_projection.weight"].t(),
    }
    same = dict(NORMS)
    for at in range(layers):
        theirs, block = f"vision_model.encoder.layers.{at}.", f"transformer.resblocks.{at}."
        same |= {theirs + name: block + own for name, own in BLOCK.items()}
        for kind in ("weight", "bias"):
            state[f"{block}attn.in_proj_{kind}"] = torch.cat(
                [weights[f"{theirs}self_attn.{one}_proj.{kind}"] for one in "qkv"]
            )
    for name, own in same.items():
        state |= {f"{own}.{kind}": weights[f"{name}.{kind}"] for kind in ("weight", "bias")}
    visual.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return twin.eval(), preprocess
