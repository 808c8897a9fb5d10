"""The levels that need no targets: L0 from the phrases alone, L1 against a bank of benign content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.degenerate import degenerate
from moderation.compiler.phrases import PhraseVectors
from moderation.detector.head import Head
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Vectors
from moderation.item import Modality, Part

# Soft maxima this soft let several near phrases add up; harder ones did worse on CLIP's vectors of 1,600 objects.
L0_SHARPNESS = 20.0  # of cosines
L1_SHARPNESS = 0.5  # of standard deviations on the bank
# The policy's own phrases, the extremes of what can come, land this far out on the sigmoid.
_REACH = 8.0
# At L1, content as near to a phrase as the bank is on average. Without it, AP on those objects was about half.
_FLOOR = 1.0
# A phrase's spread on the bank is taken together with the mean spread of all phrases, as if that had been seen this often.
_SHRINK = 20.0
MIN_BANK = 8


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Vectors of benign content, float16 [n, d], and of content that shows nothing, [m, d]; `left_out` could not be encoded."""

    benign: Vectors
    degenerate: Vectors
    left_out: int


def embed_bank(background: Sequence[Part], modalities: Sequence[Modality], embedder: Embedder) -> Bank:
    """The bank's vectors. Parts of other modalities than the policy's are left out, for they lie elsewhere in the space."""
    parts = [part for part in background if part.modality in modalities]
    benign = _embed(parts, embedder)
    nothing = [part for one in modalities for kind in ("blank", "noise") for part in degenerate(kind, one)]
    return Bank(benign, _embed(nothing, embedder), len(background) - len(benign))


def contrast_head(vectors: PhraseVectors) -> Head:
    """L0: how much nearer a vector lies to the violating phrases than to the contrast."""
    return plain_head(vectors.violating, vectors.contrast)


def plain_head(violating: NDArray[np.float32], contrast: NDArray[np.float32]) -> Head:
    """L0 over any two sets of unit vectors."""
    count = len(violating) + len(contrast)
    head = Head("L0", violating, contrast, np.ones(count), np.zeros(count), L0_SHARPNESS)
    extremes = head.raw(np.concatenate([violating, contrast]).astype(np.float16))
    return replace(head, scale=max(float(np.abs(extremes).max()) / _REACH, 1e-3))


def normalised_head(vectors: PhraseVectors, bank: Bank) -> Head:
    """L1: each phrase's similarity in standard deviations of the bank, so that no phrase is near everything.

    The score is 0.5 two deviations above the bank's mean margin, or where the riskiest blank or noisy input lies, if higher.
    """
    phrases = np.concatenate([vectors.violating, vectors.contrast]).astype(np.float64)
    similarity = bank.benign.astype(np.float64) @ phrases.T
    gain = gain_of(similarity.var(axis=0), len(similarity))
    head = Head("L1", vectors.violating, vectors.contrast, gain, similarity.mean(axis=0), L1_SHARPNESS, floor=_FLOOR)
    margins = head.raw(bank.benign)
    scale = max(float(margins.std()), 1e-3)
    centre = float(margins.mean()) + 2.0 * scale
    if len(bank.degenerate):
        centre = max(centre, float(head.raw(bank.degenerate).max()))
    return replace(head, centre=centre, scale=scale)


def gain_of(variance: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """What turns a phrase's similarity into its standard deviations, float64 [p], from its variance over so many vectors."""
    shrunk = (count * variance + _SHRINK * variance.mean()) / (count + _SHRINK)
    return np.asarray(1.0 / np.sqrt(np.maximum(shrunk, 1e-6)))


def _embed(parts: Sequence[Part], embedder: Embedder) -> Vectors:
    embedded = embedder.embed(parts)
    return embedded.vectors[[row for row in range(len(parts)) if row not in embedded.errors]]
