"""Controls: what the policy's name alone, random words, and shuffled targets achieve; meaning must beat all three."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.compiler.bottleneck import fit_bottleneck
from moderation.compiler.heads import plain_head
from moderation.compiler.levels import FOLDS, Choice, average_precision, measure, split, too_few
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


@dataclass(frozen=True, slots=True, eq=False)
class Controls:
    """Heads that know less than the policy, by name, and why those are missing that could not be made."""

    heads: Mapping[str, Head]
    missing: Mapping[str, str]


def make_controls(policy: Policy, embedder: Embedder, vectors: PhraseVectors, *, seed: int) -> Controls:
    """The policy's name against its contrast, and random words, as many as its phrases.

    The name is the title, or the id where the encoder cannot read the title.
    """
    prompts = templates(policy.scope.modalities)
    rng, words = random.Random(seed), _WORDS.split()
    draws = [" ".join(rng.sample(words, 2)) for _ in range(len(vectors.violating) + len(vectors.contrast))]
    violating, contrast = draws[: len(vectors.violating)], draws[len(vectors.violating) :]

    def name_only(name: str) -> Head:
        return plain_head(ensemble(policy, embedder, prompts, [name]), vectors.contrast)

    def random_words(name: str) -> Head:
        described = ensemble(policy, embedder, prompts, [f"{name}, {one}" for one in violating])
        return plain_head(described, ensemble(policy, embedder, prompts, contrast))

    names = policy.title.lower(), policy.id.replace("-", " ").replace("_", " ")
    heads: dict[str, Head] = {}
    missing: dict[str, str] = {}
    for control, make in (("name_only", name_only), ("random_words", random_words)):
        try:
            heads[control] = _first(make, names)
        except CompileError as error:
            missing[control] = str(error)
    return Controls(heads, missing)


def _first(make: Callable[[str], Head], names: tuple[str, str]) -> Head:
    """The head of the title, or of the id. Raises CompileError where the encoder reads neither."""
    title, identifier = names
    try:
        return make(title)
    except CompileError:
        return make(identifier)


def compare(
    choice: Choice, controls: Controls, fit: Targets | None, vectors: PhraseVectors, *, seed: int
) -> dict[str, Any]:
    """Average precision of the controls beside the policy's own, on the fit targets where there are enough.

    Without them, on the policy's own phrases, each left out in turn: a weaker comparison, and said so. A control that could
    not be made is None, and `missing` says why.
    """
    missing = dict(controls.missing)
    if fit is None or too_few(fit):
        missing["shuffled_targets"] = too_few(fit)
        told: dict[str, Any] = {"measured_on": "the policy's own phrases, left out in turn (no targets)"}
        found = {
            "policy": _left_out(vectors),
            **{name: _on_phrases(head, vectors) for name, head in controls.heads.items()},
        }
    else:
        folds = split(fit, seed=seed)
        measured = {name: measure(lambda _, head=head: head, fit, folds) for name, head in controls.heads.items()}  # type: ignore[misc]
        chosen = choice.measured[choice.head.level]
        told = {
            "measured_on": "fit targets, cross-validated by cluster",
            "beaten": {name: chosen.beats(one) for name, one in measured.items()},
        }
        found = {"policy": chosen.mean, **{name: one.mean for name, one in measured.items()}}
        found["shuffled_targets"] = _shuffled(choice, fit, seed=seed)
        if found["shuffled_targets"] is None:
            missing["shuffled_targets"] = "too few clusters of a class are left once the targets are dealt out anew"
    told["average_precision"] = found | dict.fromkeys(missing)
    return told | ({"missing": missing} if missing else {})


def _shuffled(choice: Choice, fit: Targets, *, seed: int) -> float | None:
    """Average precision of what learns from targets dealt out anew to clusters: what chance alone gives.

    A bottleneck at L5, else a probe. None where no deal leaves enough clusters of each class to fit on.
    """
    rng = np.random.default_rng(seed)
    numbers, first = np.unique(fit.clusters, return_index=True)
    results: list[float] = []
    for _ in range(_SHUFFLES):
        dealt = dict(zip(numbers, rng.permutation(fit.violating[first]), strict=True))
        shuffled = fit.relabelled(np.array([dealt[one] for one in fit.clusters], np.bool_))
        if too_few(shuffled):
            continue
        folds = split(shuffled, seed=seed)[:FOLDS]  # the targets are dealt anew instead
        results += measure(lambda train: _learned(choice, train), shuffled, folds).folds
    return float(np.mean(results)) if results else None


def _learned(choice: Choice, train: Targets) -> Head:
    if choice.penalty is not None:
        return fit_bottleneck(choice.base, train, choice.penalty)
    return fit_probe(choice.base, train, choice.pull or 0.0)


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
