"""Controls: what the policy's name alone, random words, and shuffled targets achieve; meaning must beat all three."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.heads import plain_head
from moderation.compiler.levels import Choice, average_precision, measure, split, too_few
from moderation.compiler.phrases import PhraseVectors, ensemble, templates
from moderation.compiler.probe import Targets, fit_probe, targets
from moderation.detector.head import Head
from moderation.embedding.embedder import Embedder
from moderation.errors import CompileError
from moderation.policy.schema import Policy

# Words that mean nothing to any policy: neutral things and looks.
_WORDS = """
apple basket bridge bright button candle carpet circle cloud copper cotton curtain desk distant dusty early feather
fence field folded garden gentle glass grain green harbour hidden hollow island jacket kettle ladder lamp leaf lemon
little marble meadow mirror morning narrow needle northern orange paper pebble pencil pillow plain pocket quiet ribbon
river round saddle sandy shadow shelf silver simple smooth spoon stone string summer table thread timber tower umbrella
valley velvet violet wagon wall warm water weather wheel window winter wooden yellow
"""
_SHUFFLES = 3


def control_heads(policy: Policy, embedder: Embedder, vectors: PhraseVectors, *, seed: int) -> dict[str, Head]:
    """Heads that know less than the policy: its name against its contrast, and random words, as many as its phrases.

    The name is the title, or the id where the encoder cannot read the title; a control that cannot be read is left out.
    """
    prompts = templates(policy.scope.modalities)
    rng, words = random.Random(seed), _WORDS.split()
    draws = [" ".join(rng.sample(words, 2)) for _ in range(len(vectors.violating) + len(vectors.contrast))]
    violating, contrast = draws[: len(vectors.violating)], draws[len(vectors.violating) :]
    heads: dict[str, Head] = {}
    for name in (policy.title.lower(), policy.id.replace("-", " ").replace("_", " ")):
        with suppress(CompileError):
            heads.setdefault("name_only", plain_head(ensemble(policy, embedder, prompts, [name]), vectors.contrast))
        with suppress(CompileError):
            described = ensemble(policy, embedder, prompts, [f"{name}, {one}" for one in violating])
            heads.setdefault("random_words", plain_head(described, ensemble(policy, embedder, prompts, contrast)))
    return heads


def compare(
    choice: Choice, controls: Mapping[str, Head], fit: Targets | None, vectors: PhraseVectors, *, seed: int
) -> dict[str, Any]:
    """Average precision of the controls beside the policy's own, on the fit targets where there are enough.

    Without them, on the policy's own phrases, each left out in turn: a weaker comparison, and said so.
    """
    if fit is None or too_few(fit):
        own = {"policy": _left_out(vectors), **{name: _on_phrases(head, vectors) for name, head in controls.items()}}
        return {"measured_on": "the policy's own phrases, left out in turn (no targets)", "average_precision": own}
    folds = split(fit, seed=seed)
    found = {name: measure(lambda _, head=head: head, fit, folds) for name, head in controls.items()}  # type: ignore[misc]
    chosen = choice.measured["L3" if choice.pull is not None else choice.head.level]
    precisions = {
        "policy": chosen.mean,
        **{name: one.mean for name, one in found.items()},
        "shuffled_targets": _shuffled(choice, fit, seed=seed),
    }
    beaten = {name: chosen.beats(one) for name, one in found.items()}
    return {"measured_on": "fit targets, cross-validated by cluster", "average_precision": precisions, "beaten": beaten}


def _shuffled(choice: Choice, fit: Targets, *, seed: int) -> float:
    """Average precision of a probe that learns from targets dealt out anew to clusters: what chance alone gives."""
    rng = np.random.default_rng(seed)
    pull = 0.0 if choice.pull is None else choice.pull
    numbers, first = np.unique(fit.clusters, return_index=True)
    results: list[float] = []
    for _ in range(_SHUFFLES):
        dealt = dict(zip(numbers, rng.permutation(fit.violating[first]), strict=True))
        shuffled = fit.relabelled(np.array([dealt[one] for one in fit.clusters], np.bool_))
        if too_few(shuffled):
            continue
        folds = split(shuffled, seed=seed)
        results += measure(lambda train: fit_probe(choice.base, train, pull), shuffled, folds).folds
    return float(np.mean(results)) if results else 0.0


def _on_phrases(head: Head, vectors: PhraseVectors) -> float:
    on = _as_targets(vectors)
    return average_precision(head.raw(on.vectors), on)


def _left_out(vectors: PhraseVectors) -> float | None:
    """L0 on each phrase, built from the others."""
    if min(len(vectors.violating), len(vectors.contrast)) < 2:
        return None
    on = _as_targets(vectors)
    sides: Sequence[NDArray[np.float32]] = (vectors.violating, vectors.contrast)
    scores = []
    for side in (0, 1):
        for row in range(len(sides[side])):
            kept = [np.delete(one, row, axis=0) if at == side else one for at, one in enumerate(sides)]
            scores.append(plain_head(*kept).raw(sides[side][row : row + 1].astype(np.float16))[0])
    return average_precision(np.array(scores), on)


def _as_targets(vectors: PhraseVectors) -> Targets:
    phrases = np.concatenate([vectors.violating, vectors.contrast]).astype(np.float16)
    violating = np.arange(len(phrases)) < len(vectors.violating)
    return targets(phrases, violating, np.arange(len(phrases)))
