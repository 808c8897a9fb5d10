"""Makes everything that a training run reads: captions, the teacher's vectors, the text space, arrays, the starting tower."""

import io
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from captions import caption_texts, captions_of, corpus
from drawings import COLOUR_ICON_STYLES
from heldout import read_categories
from measure import kinds_of
from mobilenet import load_pretrained, unfold_batch_norms
from PIL import Image
from teacher import Space, encode, fit_space
from text_tower import TextTower, choose_vocabulary, distil, save_student, start_student, write_tokenizer
from torch.nn import functional

from moderation.training.augment import Augment
from moderation.training.data import Order, open_pictures
from moderation.training.drawings import normalise

WIDTH, WHITEN = 256, 0.5
STORED_SIZE = 96
VOCABULARY, TEXT_STEPS, TEXT_BATCH, TEXT_RATE = 9600, 1100, 256, 6e-4
OTHER_TEXTS = 60_000
# How often a drawing comes in one epoch. Emoji and game-icons are what policies about stickers meet; interface icons come less often.
WEIGHTS = {
    "noto": 2.0, "twemoji": 2.0, "fluent-emoji": 2.0, "fluent-emoji-flat": 2.0, "noto-v1": 1.6, "fluent-emoji-high-contrast": 1.6,
    "game-icons": 1.8, "mdi": 0.7, "dcss": 0.5,
}  # fmt: skip
WEIGHTS |= dict.fromkeys(COLOUR_ICON_STYLES, 0.6)
OTHER_WEIGHT = 0.35
MATCH_TIMES, LOOKALIKE_TIMES = 3.0, 1.5  # what belongs to a policy, and what is easily taken for it, comes more often


def prepare_pictures(rendered: Path, data: Path, teacher: Path, out: Path) -> None:
    """The folder moderation.training reads: pictures.npy, rows.jsonl, texts.npy, backgrounds.npy; and the space beside it."""
    out.mkdir(parents=True, exist_ok=True)
    rows = read_rows(rendered)
    captions = [captions_of(row) if not row["empty"] and len(row["name"]) > 1 else [] for row in rows]
    texts = list(dict.fromkeys(text for found in captions if found for text in caption_texts(found)))
    vectors = encode(teacher, texts)
    space = fit_space(vectors, width=WIDTH, whiten=WHITEN)
    space.save(out / "space.npz")
    np.save(out / "teacher.npy", vectors)
    (out / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    np.save(out / "texts.npy", space(vectors).astype(np.float16))
    numbers, categories = {text: i for i, text in enumerate(texts)}, read_categories()
    with (out / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for i, (row, found) in enumerate(zip(rows, captions, strict=True)):
            if found:
                line = {"picture": i, "object": row["object"], "weight": weight_of(row, categories)}
                lines.write(json.dumps(line | {"captions": [numbers[text] for text in caption_texts(found)]}) + "\n")
    shrink(rendered / "train.npy", out / "pictures.npy")
    np.save(out / "backgrounds.npy", read_photos(data / "photos/clothing_cc0_subset.tar"))


def weight_of(row: Mapping[str, Any], categories: Mapping[str, Mapping[str, Mapping[str, str]]]) -> float:
    """How often a drawing comes in one epoch, by its source and by what it is to the policies."""
    kinds = kinds_of(row, categories).values()
    times = MATCH_TIMES if "match" in kinds else LOOKALIKE_TIMES if "lookalike" in kinds else 1.0
    return round(WEIGHTS.get(row["source"], OTHER_WEIGHT) * times, 3)


def read_rows(rendered: Path) -> list[dict[str, Any]]:
    """The rows of the drawings that may be trained on."""
    return [json.loads(line) for line in (rendered / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def shrink(source: Path, out: Path) -> None:
    """Store RGBA pictures at the size training needs, colours weighed by how opaque they are."""
    pictures = np.load(source, mmap_mode="r")
    shape = (len(pictures), STORED_SIZE, STORED_SIZE, 4)
    small = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, len(pictures), 512):
        rgba = torch.from_numpy(pictures[start : start + 512].copy()).permute(0, 3, 1, 2).float()
        weighed = torch.cat([rgba[:, :3] * rgba[:, 3:] / 255, rgba[:, 3:]], dim=1)
        weighed = functional.interpolate(
            weighed, size=STORED_SIZE, mode="bilinear", antialias=True, align_corners=False
        )
        colour = (weighed[:, :3] * 255 / weighed[:, 3:].clamp_min(1)).clamp(0, 255)
        small[start : start + 512] = torch.cat([colour, weighed[:, 3:]], 1).round().byte().permute(0, 2, 3, 1).numpy()
    small.flush()


def read_photos(path: Path) -> np.ndarray:
    """Every photograph of a tar, cut square, uint8 [k, 96, 96, 3]."""
    found = []
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name.endswith(".jpg") and (handle := archive.extractfile(member)) is not None:
                photo = Image.open(io.BytesIO(handle.read())).convert("RGB")
                side = min(photo.size)
                left, top = (photo.width - side) // 2, (photo.height - side) // 2
                square = photo.crop((left, top, left + side, top + side)).resize((96, 96), Image.Resampling.BICUBIC)
                found.append(np.asarray(square))
    return np.stack(found)


def start_tower(weights: Path, prepared: Path, out: Path) -> None:
    """Google's MobileNetV2 with batch norms that fit these drawings, in Hugging Face's layout."""
    model, _ = load_pretrained(weights)
    pictures = open_pictures(prepared)
    rows = Order(pictures.weights, batch=256, seed=1).rows(0)
    drawings = torch.from_numpy(pictures.pixels[pictures.picture[rows]])
    unfold_batch_norms(model, normalise(Augment(torch.Generator().manual_seed(1), 0.3)(drawings, 72, None)))
    model.save_pretrained(out)


def distil_text(rendered: Path, prepared: Path, data: Path, teacher: Path, out: Path) -> None:
    """Teach the small text tower the space, on captions and on wider text, and save it with its tokenizer and projection."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    space = Space.load(prepared / "space.npz")
    texts: list[str] = json.loads((prepared / "texts.json").read_text(encoding="utf-8"))
    others = other_texts(rendered, data, teacher, set(texts))
    wanted = np.concatenate([space(np.load(prepared / "teacher.npy")), space(encode(teacher, others))])
    texts += others
    kept = choose_vocabulary(teacher, texts, size=VOCABULARY)
    tokenizer = write_tokenizer(teacher, kept, out)
    model = TextTower(start_student(teacher, kept), width=WIDTH)
    with torch.no_grad():  # where an untrained pooler that changed nothing would have to go
        model.projection.weight.copy_(torch.from_numpy(space.matrix.T.copy()))
    ids = tokenizer(texts, truncation=True)["input_ids"]
    distil(model, ids, wanted, steps=TEXT_STEPS, batch=TEXT_BATCH, rate=TEXT_RATE, seed=1)
    save_student(model, out)


def other_texts(rendered: Path, data: Path, teacher: Path, known: set[str]) -> list[str]:
    """What the text tower reads beside captions, in a fixed shuffled order."""
    vocabulary = (teacher / "vocab.txt").read_text(encoding="utf-8").splitlines()
    common: Sequence[str] = [word for word in vocabulary[1999:14000] if re.fullmatch("[a-z]{3,}", word)]
    found = [
        text for text in corpus([r for r in read_rows(rendered) if not r["empty"]], data, common) if text not in known
    ]
    order = np.random.default_rng(0).permutation(len(found))[:OTHER_TEXTS]
    return [found[i] for i in order]
