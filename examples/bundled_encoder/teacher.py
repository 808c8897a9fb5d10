"""The sentence encoder that the text tower learns from (all-MiniLM-L6-v2) and the centred, softly whitened space made of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer


@dataclass(frozen=True, slots=True)
class Space:
    """A fixed linear map of teacher vectors: normalise((vector - mean) @ matrix)."""

    mean: np.ndarray  # float32 [384]
    matrix: np.ndarray  # float32 [384, width]

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors float32 [n, width] of teacher vectors [n, 384]."""
        mapped = (vectors.astype(np.float32) - self.mean) @ self.matrix
        return mapped / np.linalg.norm(mapped, axis=1, keepdims=True).clip(1e-6)

    def save(self, path: Path) -> None:
        """Write both arrays to `path` (.npz)."""
        np.savez(path, mean=self.mean, matrix=self.matrix)

    @classmethod
    def load(cls, path: Path) -> "Space":
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(mean=arrays["mean"], matrix=arrays["matrix"])


def fit_space(vectors: np.ndarray, *, width: int, whiten: float) -> Space:
    """Centre `vectors`, keep their `width` largest directions, each scaled by its deviation to the power -`whiten` (0: no whitening)."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh(np.cov((vectors - mean).T))
    order = np.argsort(values)[::-1][:width]
    matrix = directions[:, order] * values[order].clip(1e-9) ** (-whiten / 2)
    return Space(mean=mean.astype(np.float32), matrix=matrix.astype(np.float32))


@torch.inference_mode()
def encode(folder: Path, texts: Sequence[str], *, batch: int = 256, max_tokens: int = 48) -> np.ndarray:
    """Teacher vectors float32 [n, 384]: mean over tokens, normalised; texts of like length run together."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = np.zeros((len(texts), model.config.hidden_size), np.float32)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        tokens = tokenizer(
            [texts[i] for i in chosen], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
        )
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states: Tensor = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].float()
        pooled = (states.float() * mask).sum(1) / mask.sum(1)
        out[chosen] = torch.nn.functional.normalize(pooled, dim=1).numpy()
    return out
