"""A policy's phrases as unit vectors: each one the mean of its prompts, in the encoder's space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Vectors
from moderation.errors import CompileError
from moderation.item import Modality, Part
from moderation.policy.schema import Concept, Policy

# The phrase as it stands comes first: a lock's golden vectors are made of it alone.
BARE = "{}"
TEMPLATES = {
    Modality.IMAGE: (
        BARE,
        "a photo of {}",
        "a picture of {}",
        "a drawing of {}",
        "an icon of {}",
        "a close-up of {}",
        "a picture showing {}",
        "{} in a scene",
    ),
    Modality.TEXT: (BARE, "a text about {}", "a message about {}", "someone writes about {}"),
}


@dataclass(frozen=True, slots=True, eq=False)
class PhraseVectors:
    """Unit vectors of a policy's phrases: float32 [v, d] and [c, d]; `golden`, float16 [v, d], is each violating phrase bare."""

    phrases: tuple[str, ...]
    violating: NDArray[np.float32]
    contrast: NDArray[np.float32]
    golden: Vectors


def templates(modalities: Sequence[Modality]) -> tuple[str, ...]:
    """The prompts for content of these modalities, the bare phrase first."""
    return tuple(dict.fromkeys(one for modality in Modality if modality in modalities for one in TEMPLATES[modality]))


def embed_concepts(policy: Policy, embedder: Embedder) -> PhraseVectors:
    """The vectors of a policy's phrases. Raises CompileError where there are none to contrast or one cannot be encoded."""
    violating, contrast = (tuple(_owners(side)) for side in (policy.concepts.violating, policy.concepts.contrast))
    if not violating:
        raise CompileError(
            f"policy {policy.id!r}: found no violating phrase; a policy needs at least one to be compiled"
        )
    if not contrast:
        raise CompileError(
            f"policy {policy.id!r}: found no contrast phrase; name look-alikes that must not match, because a similarity "
            f"by itself has no zero to compare with"
        )
    prompts = templates(policy.scope.modalities)
    golden = _encode(policy, embedder, [BARE], violating)[0]
    return PhraseVectors(
        violating,
        ensemble(policy, embedder, prompts, violating),
        ensemble(policy, embedder, prompts, contrast),
        golden[:, 0],
    )


def owned(policy: Policy) -> list[tuple[str, str]]:
    """Every phrase of a head, violating ones first, with the id of its concept."""
    return [pair for side in (policy.concepts.violating, policy.concepts.contrast) for pair in _owners(side).items()]


def ensemble(policy: Policy, embedder: Embedder, prompts: Sequence[str], phrases: Sequence[str]) -> NDArray[np.float32]:
    """Float32 [n, d]: for each phrase the normalised mean over its prompts, those too long for the encoder left out."""
    vectors, fine = _encode(policy, embedder, prompts, phrases)
    mean = (vectors.astype(np.float64) * fine[:, :, None]).sum(axis=1)
    unit: NDArray[np.float32] = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _encode(
    policy: Policy, embedder: Embedder, prompts: Sequence[str], phrases: Sequence[str]
) -> tuple[Vectors, NDArray[np.bool_]]:
    """Float16 [phrases, prompts, d] and which of them could be encoded; the bare phrase must be."""
    parts = [Part.text(prompt.replace("{}", phrase)) for phrase in phrases for prompt in prompts]
    embedded = embedder.embed(parts)
    shape = len(phrases), len(prompts)
    fine = np.array([row not in embedded.errors for row in range(len(parts))], np.bool_).reshape(shape)
    for row, phrase in enumerate(phrases):
        if not fine[row, 0]:
            error = embedded.errors[row * len(prompts)]
            raise CompileError(f"policy {policy.id!r}: phrase {phrase!r} cannot be encoded: {error}")
    return embedded.vectors.reshape(*shape, -1), fine


def _owners(concepts: Sequence[Concept]) -> dict[str, str]:
    """Every phrase once, in the policy's order, with the id of its first concept."""
    owners: dict[str, str] = {}
    for concept in concepts:
        for phrase in concept.phrases:
            owners.setdefault(phrase, concept.id)
    return owners
