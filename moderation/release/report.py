"""The demo's report: one HTML page that needs nothing else, made from locks, scored targets and decisions alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from moderation.compiler.certify import ScoredTarget
from moderation.decision import Decision
from moderation.encoder.card import EncoderCard
from moderation.policy.bands import Band, bands
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow
from moderation.policy.schema import Policy
from moderation.release.achieved import Achieved, Known, achieved
from moderation.release.asked import asked_in_words
from moderation.release.bins import histogram
from moderation.release.explain import where
from moderation.release.gallery import Card, Group, cards, groups
from moderation.release.page import data_url, render
from moderation.release.plot import Histogram, plot_of
from moderation.release.policy_tests import TestReport


@dataclass(frozen=True, slots=True)
class Run:
    """One policy's way to its lock: the file, the lock, its certify targets as scored, its tests (None: not run)."""

    policy: Policy
    lock: Lock
    rows: Sequence[TargetRow]
    scored: Sequence[ScoredTarget]
    tests: TestReport | None


@dataclass(frozen=True, slots=True)
class Judged:
    """One item of the stream: what is known of it, its picture, and its decision."""

    known: Known
    picture: bytes
    decision: Decision


@dataclass(frozen=True, slots=True)
class Slice:
    """How one threshold treats the targets of one kind, in clusters."""

    name: str
    violating: int
    flagged_violating: int
    benign: int
    flagged_benign: int


@dataclass(frozen=True, slots=True)
class Promise:
    """One action as the report tells it: the locked action, its budget, and what it achieved on the stream."""

    action: str
    metric: str
    at_least: float
    confidence: float
    threshold: float | None
    certificate: Mapping[str, Any]
    shortfall: Mapping[str, Any]
    budget: float | None
    achieved: Achieved | None
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Everything the page says about one policy."""

    policy: Policy
    lock: Lock
    promises: tuple[Promise, ...]
    bands: tuple[Band, ...]
    plot: Histogram
    violating: int
    benign: int
    tests: TestReport | None
    outcomes: Mapping[str, int]
    groups: tuple[Group, ...]

    @property
    def certified(self) -> int:
        """How many of the promises are kept."""
        return sum(one.threshold is not None for one in self.promises)

    @property
    def wanting(self) -> bool:
        """Whether more targets would keep a promise that is not kept yet."""
        return any(one.shortfall.get("more_violating") or one.shortfall.get("more_benign") for one in self.promises)


@dataclass(frozen=True, slots=True)
class Facts:
    """The stream in numbers; `hits` are items for which nothing was encoded, `repeats` those whose picture came before."""

    decided: int
    pictures: int
    objects: int
    hits: int
    repeats: int
    actions: tuple[tuple[str, int], ...]


def render_report(
    runs: Sequence[Run], stream: Sequence[Judged], *, card: EncoderCard, fingerprint: str, order: Sequence[str]
) -> str:
    """The page as HTML text; the same runs and decisions give the same text. `order` names actions by force, weakest first.

    It fetches nothing and runs no script; every text from a policy, a manifest or a decision is escaped.
    """
    folder = resources.files("moderation.release")
    filters = {
        "percent": _percent, "score": _score, "data_url": data_url, "count": _count, "signed": _signed, "sentence": _sentence,
        "asked": asked_in_words, "where": where,
    }  # fmt: skip
    return render(
        folder / "report.html.j2",
        style=folder / "report.css",
        filters=filters,
        sections=[_section(run, stream, order) for run in runs],
        stream=_facts(stream),
        card=card,
        fingerprint=fingerprint,
    )


def _section(run: Run, stream: Sequence[Judged], order: Sequence[str]) -> Section:
    known, made = [one.known for one in stream], [one.decision for one in stream]
    results = {(one.action, one.metric): one for one in achieved(run.policy.id, run.lock.actions, known, made)}
    budgets = {one.action: one.budget for one in run.policy.actions}
    promises = tuple(
        Promise(
            one.action,
            one.metric,
            one.at_least,
            one.confidence,
            one.threshold,
            one.certificate or {},
            one.shortfall or {},
            budgets.get(one.action),
            results.get((one.action, one.metric)),
            () if one.threshold is None else _slices(run, one.threshold),
        )
        for one in run.lock.actions
    )
    shown = cards(run.policy.id, known, made, [one.picture for one in stream])
    violating = [one.score for one in run.scored if one.target]
    benign = [one.score for one in run.scored if not one.target]
    cuts = [(one.action, one.threshold) for one in promises if one.threshold is not None]
    return Section(
        policy=run.policy,
        lock=run.lock,
        promises=promises,
        bands=bands(run.lock.actions, order),
        plot=plot_of(histogram(violating), histogram(benign), cuts),
        violating=len({one.cluster for one in run.scored if one.target}),
        benign=len({one.cluster for one in run.scored if not one.target}),
        tests=run.tests,
        outcomes=Counter(
            verdict.outcome.value for one in made for verdict in one.verdicts if verdict.policy == run.policy.id
        ),
        groups=groups(shown),
    )


def _slices(run: Run, threshold: float) -> tuple[Slice, ...]:
    """The certify targets by the set that drew them and by look-alike, so that an easy majority hides nothing."""
    names = {row.sha256: _kinds(row) for row in run.rows}
    clusters: dict[str, dict[tuple[bool, bool], set[str]]] = {}
    for one in run.scored:
        for name in names.get(one.digest, ()):
            clusters.setdefault(name, {}).setdefault((one.target, one.score >= threshold), set()).add(one.cluster)
    slices = []
    for name, found in sorted(clusters.items()):
        hit, passed = found.get((True, True), set()), found.get((True, False), set())
        alarm, quiet = found.get((False, True), set()), found.get((False, False), set())
        slices.append(Slice(name, len(hit | passed), len(hit), len(alarm | quiet), len(alarm)))
    return tuple(slices)


def _kinds(row: TargetRow) -> list[str]:
    kinds = [f"drawn by {row.attributes['drawn_by']}"] if "drawn_by" in row.attributes else []
    return [*kinds, "look-alikes"] if "lookalike" in row.attributes else kinds


def _facts(stream: Sequence[Judged]) -> Facts:
    pictures = len({one.picture for one in stream})
    return Facts(
        decided=len(stream),
        pictures=pictures,
        objects=len({one.known.cluster for one in stream}),
        hits=sum(one.decision.cache_hit for one in stream),
        repeats=len(stream) - pictures,
        actions=tuple(Counter(one.decision.proposed for one in stream).most_common()),
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return "none" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.4f}".replace("-", "−")


def _count(value: int | None) -> str:
    return "an unknown number of" if value is None else f"{value:,}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


__all__ = ["Card", "Judged", "Run", "render_report"]
