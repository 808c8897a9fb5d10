"""The page of a scan: counts, how scores fall, and of each kind the few items that tell most, each with a small copy; it needs nothing else."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from operator import attrgetter
from typing import Any

from moderation.cli.thumbnail import Thumbnail, thumbnail
from moderation.decision import Decision, Outcome, Verdict
from moderation.errors import ItemError, one_line
from moderation.item import ContentItem, Modality, Part
from moderation.policy.lock import Lock
from moderation.release.bins import BINS, bin_of
from moderation.release.explain import where
from moderation.release.page import data_url, render
from moderation.release.plot import Histogram, plot_of
from moderation.settings import ImageLimits
from moderation.source.entry import Entry

SHOWN = 12  # items of each kind, at most


@dataclass(frozen=True, slots=True)
class Card:
    """One item as the page shows it, under one verdict; `digest` is that of the part shown, None where there is none."""

    item: str
    verdict: Verdict
    digest: str | None
    copy: Thumbnail


@dataclass(frozen=True, slots=True)
class Ranked:
    """A card with its place: what tells most comes first, and of what tells as much, what came first."""

    key: tuple[float, int]
    card: Card


@dataclass(slots=True)
class Best:
    """The SHOWN cards that tell most of all that were offered; the same content stands once, and `total` counts everything."""

    total: int = 0
    ranked: list[Ranked] = field(default_factory=list)

    def offer(self, strength: float, item: str, verdict: Verdict, shown: Shown) -> None:
        """Count one item, and keep it if it is among the best; only then is it read and decoded."""
        self.total += 1
        key = (-strength, self.total)
        if len(self.ranked) == SHOWN and key >= self.ranked[-1].key:
            return
        part = shown.part(verdict)
        digest = part.digest if part else None
        if digest and any(one.card.digest == digest for one in self.ranked):
            return
        insort(self.ranked, Ranked(key, Card(item, verdict, digest, shown.copy(part))), key=attrgetter("key"))
        del self.ranked[SHOWN:]


class Shown:
    """The content of one entry, read once and only if it is asked for; nothing here refers to itself, so that it goes as soon as its entry is done."""

    def __init__(self, entry: Entry | None, limits: ImageLimits) -> None:
        self._entry, self._limits = entry, limits
        self._copies: dict[str, Thumbnail] = {}

    @cached_property
    def _item(self) -> ContentItem | ItemError | None:
        try:
            return self._entry.read() if self._entry else None
        except ItemError as error:
            return error

    def part(self, verdict: Verdict) -> Part | None:
        """The part of the item that the verdict is of, or that its part was derived from; the first where that is not told."""
        if not isinstance(self._item, ContentItem):
            return None
        parts = list(enumerate(self._item.parts))
        named = {part.name or str(at): part for at, part in parts}
        sources = {part.name or f"part-{at}": part for at, part in parts}
        told = verdict.part or ""
        behind = (part for name, part in sources.items() if told.startswith(f"{name}#"))
        return named.get(told) or next(behind, self._item.parts[0])

    def copy(self, part: Part | None) -> Thumbnail:
        """The small copy of a part, or why there is none."""
        if part is None:
            failed = self._item if isinstance(self._item, ItemError) else None
            return Thumbnail(why=(failed.cause or failed.reason) if failed else "not read")
        if part.modality is not Modality.IMAGE:
            return Thumbnail(why=f"a {part.modality.value}")
        if part.digest not in self._copies:
            self._copies[part.digest] = thumbnail(lambda: part.content, self._limits)
        return self._copies[part.digest]


@dataclass(slots=True)
class Sheet:
    """What the page shows, gathered decision by decision: no more content than SHOWN copies of each kind is held. `order` are all actions, weakest first."""

    locks: Sequence[Lock]
    order: Sequence[str]
    limits: ImageLimits
    actions: defaultdict[str, Best] = field(default_factory=lambda: defaultdict(Best))
    near: defaultdict[str, Best] = field(default_factory=lambda: defaultdict(Best))
    errors: Best = field(default_factory=Best)
    taken: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * BINS))
    let_alone: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * BINS))

    def add(self, decision: Decision, entry: Entry | None) -> None:
        """Take in a decision and the entry that it is on, where that is known."""
        shown = Shown(entry if entry and entry.id == decision.item_id else None, self.limits)
        if found := _decisive(decision, self.order[0]):
            verdict, strength = found
            self.actions[decision.proposed].offer(strength, decision.item_id, verdict, shown)
        failed = [one for one in decision.verdicts if one.outcome is Outcome.ERROR]
        if failed:
            self.errors.offer(failed[0].score or 0.0, decision.item_id, failed[0], shown)
        for one in decision.verdicts:
            if one.score is not None and one.margin is not None:
                self.near[one.policy].offer(-abs(one.margin), decision.item_id, one, shown)
                side = self.let_alone if one.outcome is Outcome.NO_MATCH else self.taken
                side[one.policy][bin_of(one.score)] += 1

    def plot(self, lock: Lock) -> Histogram:
        """How the scores of a policy fall: what it asked for something above the axis, what it let alone below."""
        cuts = [(one.action, one.threshold) for one in lock.actions if one.threshold is not None]
        return plot_of(self.taken[lock.policy], self.let_alone[lock.policy], cuts)


def render_scan(sheet: Sheet, told: Mapping[str, Any]) -> str:
    """The page as HTML text; `told` is the summary's `to_dict`. It fetches nothing and runs no script, and every text is escaped."""
    return render(
        resources.files("moderation.cli") / "scan_sheet.html.j2",
        style=resources.files("moderation.release") / "report.css",
        filters={
            "data_url": data_url, "line": one_line, "where": where,
            "score": lambda value: f"{value:.4f}", "signed": lambda value: f"{value:+.4f}".replace("-", "−"),
        },
        sheet=sheet,
        told=told,
        actions=[(name, sheet.actions[name]) for name in reversed(sheet.order) if name in sheet.actions],
        policies=[(lock, sheet.plot(lock)) for lock in sheet.locks],
        outcomes=[one.value for one in Outcome],
    )  # fmt: skip


def _decisive(decision: Decision, weakest: str) -> tuple[Verdict, float] | None:
    """The verdict that a decision hangs on, and how sure it is: its distance to the threshold; None where that is an error, or nothing was judged."""
    judged = [(one, one.margin) for one in decision.verdicts if one.margin is not None]
    asking = [pair for pair in judged if pair[0].action == decision.proposed]
    if asking:
        return max(asking, key=lambda pair: pair[1])
    if not judged or decision.proposed != weakest:
        return None
    nearest, margin = max(judged, key=lambda pair: pair[1])
    return nearest, -margin
