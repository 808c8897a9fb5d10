"""Recordings of genuine CLIP vectors, made in a temporary folder from the shared data; none is ever copied into the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moderation.encoder.recorded import RecordedEncoder, load_recording, write_recording

B32, B16 = "openai/clip-vit-base-patch32", "openai/clip-vit-base-patch16"


def b32(data: Path, folder: Path) -> RecordedEncoder:
    """ViT-B/32: "a NAME" of 2,148 objects, 500 captions, and 100 photographs under the names of their files, as bytes."""
    names = np.load(data / "clip_space" / "b32" / "text_concepts_b32.npz", allow_pickle=False)
    pairs = np.load(data / "devonly" / "clip_space" / "b32" / "flickr8k_pairs_b32_100x5.npz", allow_pickle=False)
    texts = {f"a {_spoken(name)}": one for name, one in zip(names["names"], names["embeddings"], strict=True)}
    texts |= {str(text): one for text, one in zip(pairs["text"], pairs["text_embeddings"], strict=True)}
    images = {str(name).encode(): one for name, one in zip(pairs["image_file"], pairs["image_embeddings"], strict=True)}
    return _recorded(folder / "b32.safetensors", B32, texts, images)


def b16(data: Path, folder: Path, *, kind: str = "ensemble") -> RecordedEncoder:
    """ViT-B/16: "a NAME" of 171 objects; of `kind` "ensemble" or "single_template"."""
    names = np.load(data / "clip_space" / "b16" / "text_cocostuff171_b16.npz", allow_pickle=False)
    texts = {f"a {_spoken(name)}": one for name, one in zip(names["names"], names[kind], strict=True)}
    return _recorded(folder / f"b16-{kind}.safetensors", B16, texts, {})


def captions(data: Path) -> tuple[list[bytes], list[list[str]]]:
    """Each photograph's name, and its five captions."""
    pairs = np.load(data / "devonly" / "clip_space" / "b32" / "flickr8k_pairs_b32_100x5.npz", allow_pickle=False)
    texts: list[list[str]] = [[] for _ in pairs["image_file"]]
    for text, row in zip(pairs["text"], pairs["text_image_row"], strict=True):
        texts[row].append(str(text))
    return [str(name).encode() for name in pairs["image_file"]], texts


def _spoken(name: object) -> str:
    return str(name).lower().replace("_", " ")


def _recorded(path: Path, name: str, texts: dict[str, np.ndarray], images: dict[bytes, np.ndarray]) -> RecordedEncoder:
    write_recording(path, name=name, texts=texts, images=images)
    return load_recording(path)
