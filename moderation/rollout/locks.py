"""The policies in force: locks, verified against the encoders, detectors and action names that are really there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from moderation.decision import DRAFT, Abstention
from moderation.detector.base import Detection, Detector, ids_of, names_of, needs_scores
from moderation.detector.concept import ConceptDetector
from moderation.embedding.embedder import Embedder
from moderation.errors import LockError, PluginError
from moderation.item import ContentItem, Modality
from moderation.meant import did_you_mean
from moderation.plugin.brought import Plugins
from moderation.policy.decide import Cut, Finding, Terms
from moderation.policy.languages import language_of, same_language
from moderation.policy.lock import Lock
from moderation.reader.base import Reader
from moderation.reader.step import Readers
from moderation.rollout.company import measure_company
from moderation.rollout.encoders import check_bound, check_encoder, epsilon_of
from moderation.rollout.readers import count_parts, readers_for


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


def put_in_force(
    locks: Iterable[Lock],
    *,
    embedders: Mapping[str, Embedder],
    plugins: Plugins,
    actions: Sequence[str],
    statuses: Mapping[str, str] | None = None,
    readers: Readers | None = None,
) -> RunningSet:
    """The set that these locks make.

    `embedders` by the encoder's name in the settings; `actions` in order of force; `statuses` by the policy's id, as its release record
    gives it for this build, a draft where it says nothing; `readers` are those in force. Raises LockError when a lock does not
    fit them, FingerprintMismatchError (with both identities) when it was built on another encoder, PluginError when it
    needs a detector that is not there, or cannot be set up: that is done here, last of all.
    """
    policies: dict[str, RunningPolicy] = {}
    detectors: dict[str, RunningDetector] = {}
    needed: dict[str, str] = {}
    for lock in sorted(locks, key=lambda one: one.policy):
        if lock.policy in policies:
            raise LockError(f"policy {lock.policy!r}: found two locks; expected one lock for each policy")
        own, others = _detectors(lock, plugins)
        for running in (own, *others):
            _admit(running, detectors, lock)
        watches = _watches(f"policy {lock.policy!r}", lock.detectors, lock.modalities, [one.detector for one in others])
        check_encoder(lock, embedders)
        for running in others:
            check_bound(running.detector, lock, embedders[lock.encoder])
            needed.setdefault(running.detector.id, f"policy {lock.policy!r}")
        encoder = embedders[lock.encoder].encoder
        policies[lock.policy] = RunningPolicy(
            lock,
            terms_of(
                lock,
                actions=actions,
                epsilon=epsilon_of(lock, encoder, _by_vectors(lock, others)),
                company=measure_company(lock, embedders[lock.encoder], _by_vectors(lock, others)),
                status=(statuses or {}).get(lock.policy, DRAFT),
            ),
            (_own_watch(own.detector), *watches),
            encoder.fingerprint.numeric,
            readers_for(lock, readers.in_force if readers else ()),
        )
    plugins.set_up([detectors[id_].detector for id_ in needed], needed)
    return RunningSet(tuple(policies.values()), detectors)


def terms_of(
    lock: Lock, *, actions: Sequence[str], epsilon: float = 0.0, company: float = 0.0, status: str = DRAFT
) -> Terms:
    """What decides under a lock. Raises LockError for an action that is none of `actions`, all names in order of force."""
    later = (lock.quota.then,) if lock.quota else ()
    for name in (*(action.action for action in lock.actions), lock.on_error, *later):
        if name not in actions:
            raise LockError(f"policy {lock.policy!r}: unknown action {name!r}{did_you_mean(name, actions)}")
    return Terms(
        policy=lock.policy,
        version=lock.version,
        revision=lock.revision,
        status=status,
        severity=lock.severity,
        on_error=lock.on_error,
        cuts=tuple(Cut(one.action, one.threshold) for one in lock.actions if one.threshold is not None),
        max_parts=lock.max_parts,
        epsilon=epsilon,
        company=company,
        calibration=lock.calibration,
        share=lock.share,
        quota=lock.quota,
    )


def check_detectors(policy: str, names: Sequence[str], modalities: Collection[str], plugins: Plugins) -> None:
    """Raises what `put_in_force` raises of a policy whose detectors are not there, lack a label, or would never be asked."""
    others = _brought(policy, names, plugins)
    _watches(f"policy {policy!r}", names, modalities, others)
    for detector in others:
        _sources(policy, detector, others)
        if detector.id == policy:
            raise _same_name(policy, policy)


def _detectors(lock: Lock, plugins: Plugins) -> tuple[RunningDetector, list[RunningDetector]]:
    own = ConceptDetector(lock)
    others = _brought(lock.policy, lock.detectors, plugins)
    return RunningDetector(own, lock.encoder, trusted=True), [
        RunningDetector(
            one,
            lock.encoder if one.needs_embeddings else None,
            trusted=False,
            sources=_sources(lock.policy, one, others),
        )
        for one in others
    ]


def _brought(policy: str, names: Iterable[str], plugins: Plugins) -> list[Detector]:
    """The detectors behind these names, and all those whose scores they need, each after its sources."""
    found: dict[str, Detector] = {}
    wanted = [(id_, f"policy {policy!r}") for id_ in ids_of(names)]
    for id_, needed_by in wanted:
        if id_ not in found:
            found[id_] = plugins.detector(id_, needed_by=needed_by)
            wanted += [(one, f"{needed_by}: detector {id_!r}") for one in ids_of(needs_scores(found[id_]))]
    order = TopologicalSorter({id_: ids_of(needs_scores(one)) for id_, one in found.items()})
    try:
        return [found[id_] for id_ in order.static_order()]
    except CycleError as error:
        circle = " needs ".join(map(repr, error.args[1][::-1]))
        raise PluginError(
            error.args[1][0], f"policy {policy!r} needs detectors that need each other's scores: {circle}"
        ) from None


def _sources(policy: str, detector: Detector, brought: Sequence[Detector]) -> tuple[Watch, ...]:
    names = needs_scores(detector)
    named = [one for one in brought if one.id in ids_of(names)]
    who = f"policy {policy!r}: detector {detector.id!r}"
    return tuple(_watches(who, names, detector.modalities, named, scope=f"{detector.id!r} judges"))


def _by_vectors(lock: Lock, others: Sequence[RunningDetector]) -> list[Detector]:
    """Of the detectors that the policy counts, those whose scores hang on vectors, their own or their sources'."""
    found, known = by_vectors(others), {one.detector.id: one.detector for one in others}
    return [known[id_] for id_ in ids_of(lock.detectors) if id_ in found]


def by_vectors(detectors: Iterable[RunningDetector]) -> set[str]:
    """The ids of the detectors, sources first, whose scores hang on vectors: their own, or their sources'."""
    found: set[str] = set()
    for one in detectors:
        if one.encoder or any(source.detector in found for source in one.sources):
            found.add(one.detector.id)
    return found


def _same_name(policy: str, id_: str) -> LockError:
    return LockError(f"policy {policy!r}: {id_!r} is a policy's id and a plugin detector's; expected different names")


def _admit(running: RunningDetector, detectors: dict[str, RunningDetector], lock: Lock) -> None:
    id_ = running.detector.id
    known = detectors.setdefault(id_, running)
    if known.detector is not running.detector:
        raise _same_name(lock.policy, id_)
    if known.encoder != running.encoder:
        raise LockError(
            f"policy {lock.policy!r}: detector {id_!r} would see vectors of encoder {running.encoder!r}, but another "
            f"policy gives it those of {known.encoder!r}; expected one encoder for each detector"
        )


def _own_watch(own: Detector) -> Watch:
    return Watch(own.id, frozenset(own.labels), own.modalities | {Modality.VIDEO})


def _watches(
    who: str,
    names: Sequence[str],
    modalities: Collection[str],
    others: Sequence[Detector],
    *,
    scope: str = "the policy's scope is",
) -> list[Watch]:
    """Who needs a word names a detector (`keywords`: all its labels) or one label of it (`keywords/gambling`)."""
    meant = {detector.id: names_of(detector) for detector in others}
    known = {name for named in meant.values() for name in named}
    for name in names:
        if name not in known:
            raise LockError(f"{who}: no detector it needs has a label {name!r}{did_you_mean(name, known)}")
    watches = []
    for detector in others:
        chosen = frozenset(label for name in names for label in meant[detector.id].get(name, ()))
        if chosen and not detector.modalities & set(modalities):
            raise LockError(
                f"{who}: detector {detector.id!r} judges {', '.join(sorted(detector.modalities))}, "
                f"but {scope} {', '.join(sorted(modalities))}, so it would never be asked"
            )
        if chosen:
            watches.append(Watch(detector.id, chosen, detector.modalities))
    return watches
