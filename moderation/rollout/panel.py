"""The detectors in force, asked as one: each is shown the parts that some policy needs its word on, once, with what it asked for beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from moderation.decision import Abstention
from moderation.detector.base import Detection, DetectionBatch, under
from moderation.detector.runner import Runner
from moderation.embedding.keyed import KeyedVectors
from moderation.item import ContentItem, Part
from moderation.policy.decide import Finding
from moderation.rollout.detectors import by_vectors
from moderation.rollout.running import Needs, RunningPolicy, RunningSet

Place = tuple[int, int]  # which item of a batch, which part of that item
Needed = Mapping[RunningPolicy, Needs]  # of one item
Asked = dict[str, dict[Place, Part]]  # by detector
Answers = dict[str, dict[Place, Detection]]  # by detector
Found = dict[RunningPolicy, list[Finding]]  # of one item


class Panel:
    """The detectors of a set and what runs them. Who needs the scores of others comes in a later wave than they do."""

    def __init__(self, running: RunningSet, runner: Runner) -> None:
        self._detectors, self._runner = running.detectors, runner
        waves: dict[str, int] = {}
        for id_, one in running.detectors.items():  # sources first
            waves[id_] = max((waves[source.detector] + 1 for source in one.sources), default=0)
        self._waves = [[id_ for id_ in waves if waves[id_] == number] for number in sorted(set(waves.values()))]
        self._by_vectors = _by_vectors(running)
        self._fed = [(id_, one.sources) for id_, one in reversed(list(running.detectors.items())) if one.sources]

    def asked(self, items: Sequence[ContentItem], needs: Sequence[Needed]) -> Asked:
        """The parts that each detector must judge: those on which some policy, or another detector, needs its word."""
        asked: Asked = {detector: {} for detector in self._detectors}
        for index, item in enumerate(items):
            for need in needs[index].values():
                for watch, at in need.words:
                    asked[watch.detector][index, at] = item.parts[at]
        for detector, sources in self._fed:
            for place, part in asked[detector].items():
                for source in sources:
                    if part.modality in source.modalities:
                        asked[source.detector][place] = part
        return asked

    def answers(self, asked: Asked, vectors: Mapping[str, KeyedVectors[Place]]) -> Answers:
        """Each detector's answer on each part. A part that cannot be read is an abstention, and no detector sees it."""
        answers: Answers = {}
        batches: dict[str, DetectionBatch] = {}
        for detector, parts in asked.items():
            own = vectors.get(self._detectors[detector].encoder or "")
            faults = {place: own.fault(place) if own else part.fault for place, part in parts.items()}
            answers[detector] = {
                place: Abstention(fault.reason, cause=fault.cause) for place, fault in faults.items() if fault
            }
            fit = [place for place, fault in faults.items() if not fault]
            batches[detector] = DetectionBatch(tuple(parts[place] for place in fit), own.take(fit) if own else None)
        with self._runner.turn() as run:
            for wave in self._waves:
                fits = {id_: [place for place in asked[id_] if place not in answers[id_]] for id_ in wave}
                said = run({id_: self._fed_with(answers, id_, fits[id_], batches[id_]) for id_ in wave})
                for detector, ones in said.items():
                    answers[detector].update(zip(fits[detector], ones, strict=True))
        return answers

    def hangs_on_vectors(self, detector: str) -> bool:
        """Whether this detector's scores hang on an encoder's vectors, its own or its sources', or it is a source of one whose do."""
        return detector in self._by_vectors

    def wanted(self, asked: Asked) -> dict[str, dict[Place, Part]]:
        """By encoder, the parts that its detectors must judge, every part once."""
        wanted: dict[str, dict[Place, Part]] = {}
        for detector, parts in asked.items():
            encoder = self._detectors[detector].encoder
            if encoder and parts:
                wanted.setdefault(encoder, {}).update(parts)
        return wanted

    def findings(self, items: Sequence[ContentItem], needs: Sequence[Needed], answers: Answers) -> list[Found]:
        """Of each item, every policy that judges it, with all that was found for it."""
        return [self.found(index, item, needs[index], answers) for index, item in enumerate(items)]

    def found(self, index: int, item: ContentItem, needs: Needed, answers: Answers) -> Found:
        """Every policy that judges this item, with all that was found for it."""
        return {
            policy: [one for w, part in need.words for one in w.findings(item, part, answers[w.detector][index, part])]
            for policy, need in needs.items()
        }

    def revisions(self, items: Sequence[ContentItem], answers: Answers) -> list[dict[str, str]]:
        """Of the detectors that were asked about each item, the revisions, as far as they state one."""
        found: list[dict[str, str]] = [{} for _ in items]
        for id_, told in self._runner.revisions.items():
            if told:
                for index, _ in answers[id_]:
                    found[index][id_] = told
        return found

    def _fed_with(
        self, answers: Answers, detector: str, places: Sequence[Place], batch: DetectionBatch
    ) -> DetectionBatch:
        """The batch with what others said of its parts, where the detector asks for that."""
        sources = self._detectors[detector].sources
        if not sources:
            return batch
        return replace(
            batch,
            scores=tuple(
                {
                    one.detector: under(answers[one.detector][place], one.labels)
                    for one in sources
                    if place in answers[one.detector]
                }
                for place in places
            ),
        )


def _by_vectors(running: RunningSet) -> set[str]:
    """Those whose scores hang on vectors, with all their sources."""
    found = by_vectors(running.detectors.values())
    for id_, one in reversed(list(running.detectors.items())):
        if id_ in found:
            found.update(source.detector for source in one.sources)
    return found
