"""Builds the captions of every training drawing and the wider corpus that the text tower is distilled on."""

import csv
import gzip
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from phrases import may_be_caption

# Templates in the manner of the CLIP paper's, for drawings.
TEMPLATES = (
    "{}", "{}", "{}", "a {}", "a drawing of a {}", "an icon of a {}", "an emoji of {}", "a sticker of a {}", "a picture of a {}",
    "a cartoon {}", "a photo of a {}", "{} symbol", "a black and white {}", "a colourful {}", "a small {}", "clip art of a {}",
)  # fmt: skip
_CAMERA = (
    "a {} on a table", "a person with a {}", "a {} in the dark", "two {}s", "a hand holding a {}", "a {} next to a {}", "a {} and a {}",
    "something like a {}", "a kind of {}", "a toy {}", "a broken {}", "a man using a {}", "a {} for sale", "a close-up of a {}",
    "an old {}", "a large {}", "someone who likes {}", "not a {}", "a {} made of wood", "a red {}", "a {} in a shop",
)  # fmt: skip


def captions_of(row: dict[str, Any]) -> list[str]:
    """A drawing's captions, its name first; empty where nothing of it may be said."""
    found = [row["name"], *row["words"]]
    seen = dict.fromkeys(" ".join(text.split()) for text in found if may_be_caption(text))
    return [text for text in seen if len(text) > 1]


def caption_texts(captions: Sequence[str]) -> list[str]:
    """The texts one drawing is trained with: the name alone, and the name or a keyword with another word of its own."""
    name, *others = captions
    return [name, *(f"{name}, {other}" for other in others), *others]


def corpus(rows: Iterable[dict[str, Any]], data: Path, common: Sequence[str], *, seed: int = 1) -> list[str]:
    """Every text that the text tower learns the teacher's vectors of, without repeats, in a fixed order.

    `common` are frequent English words: alone and in pairs they cover what the names of drawings do not.
    """
    rng = random.Random(seed)
    texts: dict[str, None] = {}
    names: dict[str, None] = {}
    for row in rows:
        for text in captions_of(row):
            names[text] = None
    names |= dict.fromkeys(filter(may_be_caption, _object_names(data)))
    pool = list(names)
    texts |= names
    for name in pool:
        texts[rng.choice(TEMPLATES[3:]).format(name)] = None
        for template in rng.sample(_CAMERA, 1):
            texts[template.format(*(name if i == 0 else rng.choice(pool) for i in range(2)))] = None
    texts |= dict.fromkeys(_sentences(data))
    for word in common:
        texts[word] = None
        texts[rng.choice(_CAMERA).format(word, rng.choice(common))] = None
        texts[f"{rng.choice(common)} {word}"] = None
    return [text for text in texts if may_be_caption(text)]


def _object_names(data: Path) -> Iterator[str]:
    with np.load(data / "clip_space/b32/text_concepts_b32.npz", allow_pickle=False) as concepts:
        yield from (str(name).replace("_", " ") for name in concepts["names"])
    for names in json.loads((data / "clip_text/clip_benchmark_en_classnames.json").read_text()).values():
        yield from map(str, names)
    for line in (data / "emoji/emoji_corpus.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield row["name"]
        yield from (k.replace("_", " ") for k in row["keywords"])


def _sentences(data: Path) -> Iterator[str]:
    for entries in json.loads(gzip.decompress((data / "text/sugarcrepe.json.gz").read_bytes())).values():
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield entry["caption"]
            yield entry["negative_caption"]
    with gzip.open(data / "text/hatemoji_build_train.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield row["text"][:120]
