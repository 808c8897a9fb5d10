"""Measured lint: what a policy's phrases cannot do under one encoder, found without a single target.

No cosine is written down here: what is near, and what is risky, is told by the encoder's own likeness of paraphrases, and by where its
scores of ordinary content lie.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from moderation.audit.design import Design, associate
from moderation.audit.result import Association
from moderation.audit.sample import Judged, make_sample
from moderation.compiler.degenerate import degenerate
from moderation.compiler.heads import MIN_BANK, Bank, contrast_head, embed_bank, normalised_head
from moderation.compiler.phrases import PhraseVectors, embed_concepts, ensemble, templates
from moderation.detector.head import Head
from moderation.embedding.embedder import Embedder
from moderation.item import Modality, Part
from moderation.policy.audit_block import Audit
from moderation.policy.lint import Finding
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow
from moderation.policy.schema import Concept, Policy
from moderation.policy.yaml_source import Node

ERROR, WARNING, INFO = "error", "warning", "info"
RISKY = 0.95  # of ordinary content scores lower
SKEW = float(np.log(2.0))  # a group twice as often among the nearest as among all
SIGNIFICANT = 0.05
_ROUNDING = 1e-6
# The same thing said twice: how near two phrases lie that nothing could tell apart.
PARAPHRASES = (
    ("a car on the road", "an automobile on the street"), ("a big dog", "a large hound"), ("a happy child", "a kid who is glad"),
    ("a ship at sea", "a boat on the ocean"), ("an old house", "an ancient home"), ("a cup of tea", "tea in a mug"),
    ("a doctor at work", "a physician working"), ("a small stone", "a little rock"), ("a tall tree", "a high tree"),
    ("money in a wallet", "cash in a purse"), ("a fast train", "a speedy railway train"), ("a crowd in a square", "many people in a plaza"),
)  # fmt: skip
# Who does what to whom, as far as a pattern can tell: "a man hitting a dog", "people who are shooting at police officers", "a child bitten by a dog".
_WORD = r"(?!(?:an?|the|some|of|in|for|\w+ing)\b)[\w-]+"
_SOMEBODY = rf"(?:(?:an?|the|some) )?{_WORD}(?: {_WORD}){{0,2}}"
_JOINED = re.compile(
    rf"(?P<a>{_SOMEBODY}?)(?P<verb>(?: (?:who|that|which))?(?: (?:is|are))? (?:\w+ing(?: (?:at|to|on|with|over))?|\w+(?:ed|en) by) )(?P<b>{_SOMEBODY})"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A policy in one encoder's space: its phrases, a head made of them, scores of ordinary content, how near paraphrases lie."""

    policy: Policy
    embedder: Embedder
    vectors: PhraseVectors
    head: Head
    ordinary: NDArray[np.float64]
    paraphrase: float

    @property
    def risky(self) -> float:
        """The score that RISKY of ordinary content stays below; 0.5, the head's middle, where there is too little of it."""
        return float(np.quantile(self.ordinary, RISKY)) if len(self.ordinary) >= MIN_BANK else 0.5


def measure(
    policy: Policy,
    embedder: Embedder,
    *,
    background: Sequence[Part] = (),
    people: Sequence[TargetRow] = (),
    lock: Lock | None = None,
) -> list[Finding]:
    """L009 to L012, L015 and L017 under this encoder, in the order of the file.

    `background` is ordinary content; `people` a balanced set whose rows state the audit's attributes; `lock` one compiled of this very
    policy, for the controls it measured. What cannot be measured is said as information. Raises CompileError where phrases cannot
    be encoded.
    """
    vectors = embed_concepts(policy, embedder)
    bank = embed_bank(background, policy.scope.modalities, embedder)
    head = normalised_head(vectors, bank) if len(bank.benign) >= MIN_BANK else contrast_head(vectors)
    measured = _Measured(policy, embedder, vectors, head, _scores(head, bank), _paraphrase(policy, embedder))
    found = [
        *_parallel(measured),
        *_swapped(measured),
        *_nothing(measured),
        *_written(measured),
        *_controls(policy, lock),
        *_people(measured, people),
    ]
    return sorted(set(found))


def _scores(head: Head, bank: Bank) -> NDArray[np.float64]:
    return head.score(bank.benign).values if len(bank.benign) else np.zeros(0)


def _paraphrase(policy: Policy, embedder: Embedder) -> float:
    """The median likeness of phrases that say the same."""
    prompts = templates(policy.scope.modalities)
    first, second = (ensemble(policy, embedder, prompts, side) for side in zip(*PARAPHRASES, strict=True))
    return float(np.median((first * second).sum(axis=1))) - _ROUNDING


def _phrases(policy: Policy, side: str) -> list[tuple[str, Node]]:
    """Every phrase of a side once, with where it stands."""
    concepts: tuple[Concept, ...] = getattr(policy.concepts, side)
    found: dict[str, Node] = {}
    for number, concept in enumerate(concepts):
        for place, phrase in enumerate(concept.phrases):
            found.setdefault(phrase, policy.locate("concepts", side, number, "phrases", place))
    return list(found.items())


def _finding(node: Node, code: str, severity: str, message: str, fix: str) -> Finding:
    return Finding(node.path, node.line, node.column, code, severity, message, fix)


def _parallel(measured: _Measured) -> Iterator[Finding]:
    likeness = measured.vectors.violating @ measured.vectors.contrast.T
    others = _phrases(measured.policy, "contrast")
    for row, (phrase, node) in enumerate(_phrases(measured.policy, "violating")):
        nearest = int(np.argmax(likeness[row]))
        if likeness[row, nearest] >= measured.paraphrase:
            yield _finding(
                node, "L009", WARNING,
                f"{phrase!r} and the contrast {others[nearest][0]!r} are as near as paraphrases (cosine {likeness[row, nearest]:.3f}, "
                f"paraphrases {measured.paraphrase:.3f})",
                "say what tells them apart, or let fit targets do it",
            )  # fmt: skip


def _swapped(measured: _Measured) -> Iterator[Finding]:
    joined = [
        (phrase, node, found)
        for phrase, node in _phrases(measured.policy, "violating")
        if (found := _JOINED.fullmatch(phrase))
    ]
    joined = [one for one in joined if one[2]["a"].split()[-1] != one[2]["b"].split()[-1]]
    if not joined:
        return
    turned = [f"{found['b']}{found['verb']}{found['a']}" for _, _, found in joined]
    prompts = templates(measured.policy.scope.modalities)
    before = ensemble(measured.policy, measured.embedder, prompts, [phrase for phrase, _, _ in joined])
    likeness = (before * ensemble(measured.policy, measured.embedder, prompts, turned)).sum(axis=1)
    for (phrase, node, _), other, cosine in zip(joined, turned, likeness, strict=True):
        if cosine >= measured.paraphrase:
            yield _finding(
                node, "L010", WARNING,
                f"{phrase!r} and {other!r} are as near as paraphrases (cosine {cosine:.3f}, paraphrases {measured.paraphrase:.3f}): "
                f"who does what to whom is not read",
                "ask for review only, or name the thing alone",
            )  # fmt: skip


def _nothing(measured: _Measured) -> Iterator[Finding]:
    node = measured.policy.locate("concepts")
    for kind in ("blank", "noise", "words"):
        parts = [part for modality in measured.policy.scope.modalities for part in degenerate(kind, modality)]
        scored = _score(measured, parts)
        if len(scored) and scored.max() > measured.risky:
            yield _finding(
                node, "L011", WARNING,
                f"content that shows nothing ({kind}) scores {scored.max():.3f}, above {RISKY:.0%} of ordinary content ({measured.risky:.3f})",
                "give a background manifest to compile, and name such content among the contrast",
            )  # fmt: skip


def _written(measured: _Measured) -> Iterator[Finding]:
    if Modality.IMAGE not in measured.policy.scope.modalities:
        return
    phrases = _phrases(measured.policy, "violating")
    scored = _score(measured, [written(phrase) for phrase, _ in phrases])
    for (phrase, node), score in zip(phrases, scored, strict=True):
        if score > measured.risky:
            yield _finding(
                node, "L012", WARNING,
                f"a picture of nothing but the words {phrase!r} scores {score:.3f}, above {RISKY:.0%} of ordinary content ({measured.risky:.3f})",
                "name a picture of written words among the contrast, or fit on one",
            )  # fmt: skip


def written(words: str) -> Part:
    """A white picture of some words, in black."""
    page = Image.new("RGB", (224, 224), "white")
    lines: list[str] = []
    line = ""
    for word in words.split():
        line = f"{line} {word}".strip()
        if len(line) > 16:
            lines, line = [*lines, line], ""
    ImageDraw.Draw(page).multiline_text(
        (12, 60), "\n".join([*lines, line]), fill="black", font=ImageFont.load_default(size=24)
    )
    buffer = io.BytesIO()
    page.save(buffer, "PNG")
    return Part.image(buffer.getvalue(), name="words")


def _score(measured: _Measured, parts: Sequence[Part]) -> NDArray[np.float64]:
    return measured.head.score(measured.embedder.embed(parts).vectors).values if parts else np.zeros(0)


def _controls(policy: Policy, lock: Lock | None) -> Iterator[Finding]:
    node = policy.locate("concepts")
    controls = {} if lock is None else lock.evidence.get("controls") or {}
    beaten, measured = controls.get("beaten"), controls.get("average_precision") or {}
    if beaten is None:
        message = "whether the phrases say more than random words is not assessed: it takes a lock of this policy, compiled with fit targets"
        yield _finding(node, "L015", INFO, message, "compile with data.fit, then lint again")
        return
    for name, words in (("name_only", "the policy's name alone"), ("random_words", "as many random words")):
        if beaten.get(name) is False:
            told = f"average precision {measured.get('policy', 0.0):.3f} against {measured.get(name, 0.0):.3f}"
            message = f"on the fit targets the phrases do no better, by a standard error, than {words} ({told})"
            yield _finding(node, "L015", INFO, message, "shorten the list, or say what a camera would see")


def _people(measured: _Measured, people: Sequence[TargetRow]) -> Iterator[Finding]:
    """Which phrase retrieves one group of people far beyond its share."""
    policy, node = measured.policy, measured.policy.locate("concepts")
    block = policy.audit
    if block is None or not any(row.attributes.get(one.name) for row in people for one in block.attributes):
        why = "it takes `audit.attributes`, and a manifest of people who state them (data.audit, or --people)"
        yield _finding(
            node, "L017", INFO, f"which people the phrases call up is not assessed: {why}", "audit the policy"
        )
        return
    for found in _associated(measured, block, people):
        where = dict(_phrases(policy, "violating"))[found.phrase]
        if found.p <= SIGNIFICANT and found.skew >= SKEW:
            yield _finding(
                where, "L017", ERROR,
                f"{found.phrase!r} calls up {found.attribute} {found.group}: {found.share:.0%} of the nearest {found.nearest}, {found.share_of_all:.0%} "
                f"of all (p {found.p:.3f})",
                "name those people among the contrast, or say the phrase otherwise",
            )  # fmt: skip


def _associated(measured: _Measured, block: Audit, people: Sequence[TargetRow]) -> Iterator[Association]:
    embedded = measured.embedder.embed([row.read() for row in people])
    kept = [place for place in range(len(people)) if place not in embedded.errors]
    judged = [Judged(people[place], 0.0, 0, review=False) for place in kept]
    sample = make_sample(judged, [one.name for one in block.attributes], clusters=block.clusters)
    head = replace(measured.head, violating=measured.vectors.violating)
    yield from associate(measured.policy, block, sample, Design(head, embedded.vectors[kept], {}))
