"""The spine: items in, decisions out. Read, who must judge what, embed, detect, decide: all that judges comes this way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from moderation.decision import Abstention, Decision, Score, Timing, Verdict
from moderation.detector.runner import Runner
from moderation.embedding.embedder import Embeds
from moderation.embedding.keyed import KeyedVectors, origin, spent
from moderation.item import ContentItem, Part
from moderation.policy.decide import answer, final_score, judge
from moderation.reader.step import Readers
from moderation.rollout.limits import Limits
from moderation.rollout.panel import Answers, Needed, Panel, Place
from moderation.rollout.referee import Referee
from moderation.rollout.running import Needs, RunningPolicy, RunningSet


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was found out about a batch.

    Its items as they were read, what is needed by item, vectors by encoder, answers by detector and place, the seconds by step of an item that nobody judges, and of one that is judged.
    """

    items: Sequence[ContentItem]
    needs: Sequence[Needed]
    vectors: Mapping[str, KeyedVectors[Place]]
    answers: Answers
    timing: tuple[Timing, Timing]


class Pipeline:
    """Decides batches of items under the policies in force. Safe to call from several threads: one batch is embedded while another is judged.

    `embedders` by the encoder's name, and `alone` those that encode each part by itself: what a batch's company could decide, they do. `actions` are all names of actions, weakest first; `clock` counts seconds.
    """

    def __init__(
        self,
        running: RunningSet,
        *,
        embedders: Mapping[str, Embeds],
        runner: Runner,
        limits: Limits,
        actions: Sequence[str],
        readers: Readers | None = None,
        alone: Mapping[str, Embeds] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.running, self.runner, self._limits = running, runner, limits
        self.readers, self._panel = readers, Panel(running, runner)
        self._embedders, self._actions, self._clock = embedders, tuple(actions), clock
        self._alone = embedders if alone is None else alone
        self._referee = Referee(self._panel, clock)

    def decide(
        self,
        items: Sequence[ContentItem],
        *,
        ids: Sequence[str] = (),
        prepared: Mapping[str, Embeds] | None = None,
        alone: Mapping[str, Embeds] | None = None,
    ) -> list[Decision]:
        """One decision for each item, in order. A batch may be empty; items' ids need not be unique.

        A policy that has none of an item's parts in its scope gives no verdict on that item. `ids` are the decisions' own, one for each
        item; without them a decision is named after its item and the revisions that decided. Where the items were read and what is `wanted`
        of them was embedded before, `prepared` has the vectors, by the encoder's name; `alone` then encodes by itself what is near to a threshold.
        """
        seen = self._see(items, prepared)
        found, again = self._referee.findings(seen.items, seen.needs, seen.answers, alone or self._alone)
        judged = [
            (item.id, judge(one.terms, ones, parts=seen.needs[index][one].parts, order=self._actions), one.terms)
            for index, item in enumerate(seen.items)
            for one, ones in found[index].items()
        ]
        held = iter(self._limits.hold(judged))
        reading, judging = seen.timing
        seen = replace(seen, timing=(reading, judging.plus(again.shared_by(sum(map(bool, seen.needs))))))
        detectors = self._panel.revisions(seen.items, seen.answers)
        named = zip(ids or ("",) * len(items), detectors, strict=True)
        return [self._decision(index, held, seen, told, id_) for index, (id_, told) in enumerate(named)]

    def score(
        self,
        items: Sequence[ContentItem],
        *,
        shown: Callable[[Sequence[ContentItem]], object] = lambda _items: None,
        alone: bool = False,
    ) -> list[dict[str, Score | Abstention]]:
        """Each policy's final score on each item, by policy id, by the very way of `decide`: what certify measures.

        An abstention on one part is the item's: the score of such an item is not known. `shown` is told the items as they were read. With
        `alone`, every part is encoded by itself.
        """
        seen = self._see(items, alone=alone)
        shown(seen.items)
        return [
            {policy.id: final_score(findings) for policy, findings in found.items()}
            for found in self._panel.findings(seen.items, seen.needs, seen.answers)
        ]

    def read(self, items: Sequence[ContentItem]) -> Sequence[ContentItem]:
        """The items with what readers in force derive from their parts: what policies are asked about."""
        return self.readers.read(items) if self.readers else items

    def wanted(self, items: Sequence[ContentItem]) -> dict[str, list[Part]]:
        """By encoder, the parts of items, as they were read, that must be embedded to decide them."""
        asked = self._panel.asked(items, self._needs(items))
        return {
            name: [one for one in parts.values() if not one.unread] for name, parts in self._panel.wanted(asked).items()
        }

    def _see(
        self, items: Sequence[ContentItem], prepared: Mapping[str, Embeds] | None = None, *, alone: bool = False
    ) -> _Seen:
        reads = self.readers and prepared is None
        begun = self._clock() if reads else 0.0
        items = self.read(items) if reads else items
        read = self._clock() - begun if reads else 0.0
        needs = self._needs(items)
        asked = self._panel.asked(items, needs)
        embedders = self._alone if alone else self._embedders if prepared is None else prepared
        vectors = {name: KeyedVectors(embedders[name], parts) for name, parts in self._panel.wanted(asked).items()}
        start = self._clock()
        answers = self._panel.answers(asked, vectors)
        reading = Timing(read=read).shared_by(len(items))
        judging = spent(vectors.values(), self._clock() - start).shared_by(sum(map(bool, needs)))
        return _Seen(items, needs, vectors, answers, (reading, judging.plus(reading)))

    def _needs(self, items: Sequence[ContentItem]) -> list[dict[RunningPolicy, Needs]]:
        policies = self.running.policies
        return [{policy: need for policy in policies if (need := policy.needs(item)).words} for item in items]

    def _decision(
        self, index: int, held: Iterator[Verdict], seen: _Seen, detectors: Mapping[str, str], id_: str
    ) -> Decision:
        item, verdicts = seen.items[index], tuple(islice(held, len(seen.needs[index])))
        encoders, hit = origin([((index, place), part) for place, part in enumerate(item.parts)], seen.vectors.values())
        timing = seen.timing[bool(verdicts)]
        return answer(item.id, verdicts, self._actions, encoders=encoders, detectors=detectors, timing=timing, cache_hit=hit, id_=id_)  # fmt: skip
