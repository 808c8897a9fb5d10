"""Small checkpoints with random weights, written the way transformers writes them."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = """
a an the of red blue green small large gun knife fire cat dog bottle wine dice toy water person and with on
""".split()  # noqa: SIM905  a list of words reads as words
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CONTEXT = 40

TINY: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}


def clip(folder: Path, *, activation: str = "quick_gelu", image_size: int = 48, **text: Any) -> Any:
    """A CLIP; special ids as in OpenAI's: the end token is the largest."""
    torch.manual_seed(0)
    ids = {"vocab_size": 60, "bos_token_id": 58, "eos_token_id": 59, "pad_token_id": 59}
    config = transformers.CLIPConfig(
        text_config={**TINY, "max_position_embeddings": CONTEXT, "hidden_act": activation, **ids, **text},
        vision_config={**TINY, "image_size": image_size, "patch_size": 16, "hidden_act": activation},
        projection_dim=32,
    )
    model = randomised(transformers.CLIPModel(config))
    model.save_pretrained(folder)
    word_tokenizer(folder, start="<|startoftext|>", end="<|endoftext|>", size=60)
    write_clip_processor(folder, image_size)
    return model


def siglip(folder: Path, *, pieces: bool = False) -> Any:
    """A SigLIP; with `pieces`, its tokenizer is a SentencePiece model, as in Google's checkpoints."""
    torch.manual_seed(1)
    config = transformers.SiglipConfig(
        text_config={**TINY, "max_position_embeddings": CONTEXT, "vocab_size": 60, "projection_size": 64},
        vision_config={**TINY, "image_size": 48, "patch_size": 16},
    )
    model = randomised(transformers.SiglipModel(config))
    model.save_pretrained(folder)
    if pieces:
        piece_tokenizer(folder, size=46)
    else:
        word_tokenizer(folder, start=None, end="</s>", size=60)
    transformers.SiglipImageProcessorPil(size={"height": 48, "width": 48}).save_pretrained(folder)
    return model


VISIONS: dict[str, Any] = {
    "vit": lambda: transformers.ViTConfig(**TINY, image_size=48, patch_size=16),
    "convnext": lambda: transformers.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1], image_size=48, hidden_size=32
    ),
    "resnet": lambda: transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 40], depths=[1, 1, 1, 1], layer_type="basic", hidden_size=40
    ),
    "mobilenet": lambda: transformers.MobileNetV2Config(image_size=48, hidden_size=1280),
}


def dual(folder: Path, vision: str) -> Any:
    torch.manual_seed(2)
    text = transformers.BertConfig(**TINY, vocab_size=60, max_position_embeddings=CONTEXT)
    config = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        VISIONS[vision](), text, projection_dim=32
    )
    model = randomised(transformers.VisionTextDualEncoderModel(config))
    model.save_pretrained(folder)
    word_tokenizer(folder, start="[CLS]", end="[SEP]", size=60)
    write_clip_processor(folder, 48)
    return model


def sentence(folder: Path) -> Any:
    torch.manual_seed(3)
    config = transformers.BertConfig(**TINY, vocab_size=60, max_position_embeddings=CONTEXT)
    model = randomised(transformers.BertModel(config, add_pooling_layer=False))
    model.save_pretrained(folder)
    word_tokenizer(folder, start="[CLS]", end="[SEP]", size=60)
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in (
        ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": CONTEXT, "do_lower_case": False}))
    return model


def randomised(model: Any) -> Any:
    """Weights large enough, biases and norms too, for a mistake anywhere to show in the vectors."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
            elif parameter.ndim > 1:
                parameter.normal_(0, min(0.5, 2 / parameter[0].numel() ** 0.5))
    return model.eval()


def word_tokenizer(folder: Path, *, start: str | None, end: str, size: int) -> None:
    """Words in lower case, the special tokens at the vocabulary's end."""
    specials = [token for token in (start, end) if token]
    words = ["[UNK]", "<", "|", ">", "endoftext", "[", "]", *WORDS]
    names = words + [f"[unused{n}]" for n in range(size - len(words) - len(specials))] + specials
    vocabulary = {name: at for at, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    template = f"{start} $A {end}" if start else f"$A {end}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(s, vocabulary[s]) for s in specials]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=end,
        eos_token=end,
        unk_token="[UNK]",
        bos_token=start,
    )
    fast.save_pretrained(folder)


def piece_tokenizer(folder: Path, *, size: int) -> None:
    """SentencePiece over the words, trained here; the ids of its special pieces are those of SigLIP's own."""
    import sentencepiece

    dice, trained = random.Random(9), io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(dice.choices(WORDS, k=6)) for _ in range(400)),
        model_writer=trained,
        vocab_size=size,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(trained.getvalue())
    transformers.SiglipTokenizer(str(folder / "spiece.model"), model_max_length=CONTEXT).save_pretrained(folder)


def write_clip_processor(folder: Path, size: int) -> None:
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    ).save_pretrained(folder)


def write_card(folder: Path, **changes: Any) -> None:
    """A card that fits `dual(..., "vit")`, with changes; a dict changes keys of its section."""
    card: dict[str, Any] = {
        "schema": "encoder-card/v1",
        "name": "tiny",
        "modalities": ["image", "text"],
        "width": 32,
        "activation": "gelu",
        "image": {"size": 48, "mean": MEAN, "std": STD, "fit": "pad"},
        "text": {"context_length": 24, "padding": "longest", "trim_exact": True},
    }
    for key, value in changes.items():
        card[key] = {**card[key], **value} if isinstance(value, dict) and isinstance(card.get(key), dict) else value
    (folder / "card.json").write_text(json.dumps(card))
