"""What is in force at one moment: policies, whose word each needs on which part of an item, and the detectors that are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moderation.decision import Abstention
from moderation.detector.base import Detection, Detector
from moderation.item import ContentItem, Modality
from moderation.policy.decide import Finding, Terms
from moderation.policy.languages import language_of, same_language
from moderation.policy.lock import Lock
from moderation.reader.base import Reader
from moderation.rollout.readers import count_parts


@dataclass(frozen=True, slots=True)
class Watch:
    """One detector that counts for a policy, with those of its labels that do."""

    detector: str
    labels: frozenset[str]
    modalities: frozenset[Modality]

    def findings(self, item: ContentItem, part: int, answer: Detection) -> list[Finding]:
        """What the detector's answer on one part of an item means to the policy; a part without a name has its number."""
        name, region = item.parts[part].name or str(part), item.parts[part].region
        if isinstance(answer, Abstention):
            return [Finding(name, answer, self.detector, region)]
        return [Finding(name, score, self.detector, region) for score in answer if score.label in self.labels]


@dataclass(frozen=True, slots=True)
class Needs:
    """Whose word a policy needs on an item, each with the part's position, and how many parts of it count (`readers.count_parts`)."""

    words: Sequence[tuple[Watch, int]]
    parts: int


@dataclass(frozen=True, slots=True, eq=False)
class RunningPolicy:
    """A verified lock, ready to decide; `numeric` is the numeric class of the encoder in use, `readers` those in force that may derive parts for it."""

    lock: Lock
    terms: Terms
    watches: tuple[Watch, ...]
    numeric: str
    readers: tuple[Reader, ...] = ()
    _of_plain: dict[Modality, Needs] = field(default_factory=dict, init=False, repr=False)

    @property
    def id(self) -> str:
        """The policy's id."""
        return self.lock.policy

    def scope(self, item: ContentItem) -> tuple[int, ...]:
        """Which parts of an item this policy judges, by position; none at all means no verdict on this item."""
        derived = [bool(part.source) for part in item.parts]
        return scope_of(self.lock, item.attributes, [part.modality for part in item.parts], derived=derived)

    def needs(self, item: ContentItem) -> Needs:
        """What must be known of this item."""
        part = item.parts[0]
        if len(item.parts) > 1 or item.attributes or part.source:
            return self._needs(item)
        if part.modality not in self._of_plain:  # of items that are one part and no more, nothing else decides
            self._of_plain[part.modality] = self._needs(item)
        return self._of_plain[part.modality]

    def _needs(self, item: ContentItem) -> Needs:
        scope = self.scope(item)
        words = [
            (watch, place)
            for place in scope
            for watch in self.watches
            if item.parts[place].modality in watch.modalities
        ]
        return Needs(words, count_parts(self.lock, item, scope))


@dataclass(frozen=True, slots=True, eq=False)
class RunningDetector:
    """A detector in use, the name of the encoder whose vectors it sees (None: it sees none), and whether it is ours; whose scores it sees."""

    detector: Detector
    encoder: str | None
    trusted: bool
    sources: tuple[Watch, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RunningSet:
    """Everything in force at one moment: policies in the order of their ids, and every detector they need, by id, each after its sources."""

    policies: tuple[RunningPolicy, ...]
    detectors: Mapping[str, RunningDetector]


def scope_of(
    lock: Lock, attributes: Mapping[str, str], modalities: Sequence[Modality], *, derived: Sequence[bool] = ()
) -> tuple[int, ...]:
    """Which parts, by position, the policy judges of an item with these attributes and parts of these modalities.

    Attributes narrow the scope only where they state something: an item of an unknown surface, or whose language is no registered tag
    (`English`, `und`, `mul`), is judged. The attribute `language` is about the item's own text; a picture, and what a reader `derived`
    from one, is judged whatever language stands beside it. A video that nobody read is in every scope, and an error there.
    """
    if lock.surfaces:
        surface = attributes.get("surface", "").strip().casefold()
        if surface and surface not in {one.casefold() for one in lock.surfaces}:
            return ()
    language = language_of(attributes.get("language", "")) if lock.languages else None
    foreign = language is not None and not same_language(language, lock.languages)
    seen = (*lock.modalities, Modality.VIDEO)  # a video that no reader took apart may hold anything
    return tuple(
        [
            place
            for place, modality in enumerate(modalities)
            if modality in seen and not (foreign and modality is Modality.TEXT and not (derived and derived[place]))
        ]
    )
