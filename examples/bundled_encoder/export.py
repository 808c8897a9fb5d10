"""Joins the trained image side and the distilled text side into one VisionTextDualEncoder folder with its card."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from text_tower import POSITIONS
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    ViTImageProcessorPil,
)

from moderation.training import checkpoint
from moderation.training.config import Stage, read_drawing_run
from moderation.training.data import Order, open_pictures
from moderation.training.drawings import batch
from moderation.training.export import forget_paths
from moderation.training.tower import load_tower, settle_norms

HELD_OUT = Path(__file__).parent / "heldout.json"  # what the weights never saw; a card says which list that was
LARGEST_BYTES = 25_000_000
LICENCE = "Apache-2.0"
TRAINED_ON = (
    "noto (Apache-2.0)", "noto-v1 (Apache-2.0)", "twemoji (CC BY 4.0)", "fluent-emoji (MIT)", "fluent-emoji-flat (MIT)",
    "fluent-emoji-high-contrast (MIT)", "game-icons (CC BY 3.0, parts CC0)", "Material Design icons (Apache-2.0)",
    "Dungeon Crawl tiles (CC0)", "tabler (MIT)", "ph (MIT)", "lucide (ISC)", "icon-park (Apache-2.0)", "mingcute (Apache-2.0)",
    "fa6-solid (CC BY 4.0)", "healthicons (MIT)", "Streamline's colour sets (CC BY 4.0)", "flat-color-icons (MIT)", "clothing photographs as backgrounds (CC0)",
    "names and keywords: Unicode CLDR (Unicode-3.0), emojilib (MIT)",
    "image tower started from MobileNetV2 trained on ImageNet (google-coral/test_data, Apache-2.0)",
    "text tower distilled from all-MiniLM-L6-v2 (Apache-2.0), on the names above, LVIS, Open Images and Objects365 names, SugarCrepe and HatemojiBuild",
)  # fmt: skip
LIMITS = (
    "Drawings, emoji and icons only: it was never trained on photographs and will not judge them well. English only. "
    "Fine differences inside a kind (which calibre, which card) are beyond it. "
    "Names of kinds (weapon, fire, gambling) were captions of training drawings, and the image tower began from ImageNet "
    'weights, whose classes include some weapons: "never drawn" means never drawn in our training. Of seen objects, those of '
    "no policy (look-alikes too) were sampled to 3,000 drawings. Measure it on your own content before use."
)


SETTLING_BATCHES = 40


def image_side(config_path: Path, *, size: int) -> dict[str, Tensor]:
    """The averaged weights of a run, their batch norms settled at `size`, as VisionTextDualEncoderModel names them."""
    config = read_drawing_run(config_path)
    pictures = open_pictures(config.data.folder)
    tensors, _ = checkpoint.load(config.out / "checkpoint.safetensors")
    model = load_tower(config.model.tower, width=pictures.texts.shape[1], scale=config.loss.scale, frozen=())
    model.load_state_dict({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
    order = Order(pictures.weights, batch=config.batch, seed=config.seed + 1)
    settled = config.model_copy(update={"stages": (Stage(step=0, size=size, strength=0.4),)})
    here = torch.device("cpu")
    settle_norms(model, (batch(pictures, order, settled, step, here).pixels for step in range(SETTLING_BATCHES)))
    average = model.state_dict()
    found = {f"vision_model.{k.removeprefix('tower.')}": v for k, v in average.items() if k.startswith("tower.")}
    return found | {"visual_projection.weight": average["projection.weight"], "logit_scale": average["log_scale"]}


def join(config_path: Path, text: Path, *, size: int) -> VisionTextDualEncoderModel:
    """The dual encoder of a run's image side and the text side in `text`."""
    vision, bert = AutoModel.from_pretrained(read_drawing_run(config_path).model.tower), BertModel.from_pretrained(text)
    vision.config.image_size = size
    projection = torch.from_numpy(np.load(text / "projection.npy"))
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision.config, bert.config, projection_dim=projection.shape[0]
    )
    model = VisionTextDualEncoderModel(config, vision_model=vision, text_model=bert)
    weights = image_side(config_path, size=size) | {"text_projection.weight": projection}
    weights |= {f"text_model.{name}": tensor for name, tensor in bert.state_dict().items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or [name for name in missing if "position_ids" not in name]:
        raise ValueError(f"the parts do not make the whole: missing {missing}, unexpected {unexpected}")
    return model.eval()


def write(model: VisionTextDualEncoderModel, text: Path, out: Path, *, size: int) -> int:
    """Write the folder (fp16, without a card) and return its bytes; a checkpoint over the limit is refused."""
    shutil.rmtree(out, ignore_errors=True)
    model.half().save_pretrained(out)
    forget_paths(out / "config.json")
    AutoTokenizer.from_pretrained(text, model_max_length=POSITIONS).save_pretrained(out)
    half = [0.5, 0.5, 0.5]
    ViTImageProcessorPil(
        size={"height": size, "width": size}, resample=3, image_mean=half, image_std=half
    ).save_pretrained(out)
    total = sum(file.stat().st_size for file in out.iterdir())
    if total > LARGEST_BYTES:
        raise ValueError(f"{out}: {total} bytes; expected at most {LARGEST_BYTES}")
    return total


def write_card(out: Path, *, size: int, width: int, metrics: Mapping[str, Any]) -> None:
    """card.json beside the weights: what they need to be used rightly, and the figures measured."""
    half = [0.5, 0.5, 0.5]
    card = {
        "schema": "encoder-card/v1",
        "name": "moderation-bundled-1",
        "modalities": ["image", "text"],
        "width": width,
        "activation": "relu6",
        "image": {"size": size, "mean": half, "std": half, "resample": "bicubic", "fit": "pad"},
        "text": {"context_length": POSITIONS, "padding": "longest", "trim_exact": True, "lowercase": False, "pooling": "pooler", "languages": ["en"]},
        "licence": LICENCE,
        "trained_on": TRAINED_ON,
        "metrics": {"limits": LIMITS, "held_out_sha256": hashlib.sha256(HELD_OUT.read_bytes()).hexdigest(), **metrics},
    }  # fmt: skip
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
