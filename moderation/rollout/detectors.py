"""Which detectors count for a policy: its own, those that it names, and all whose scores these need; each is there, fits, and would be asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from graphlib import CycleError, TopologicalSorter

from moderation.detector.base import Detector, ids_of, names_of, needs_scores
from moderation.detector.concept import ConceptDetector
from moderation.errors import LockError, PluginError
from moderation.item import Modality
from moderation.meant import did_you_mean
from moderation.plugin.brought import Plugins
from moderation.policy.lock import Lock
from moderation.rollout.running import RunningDetector, Watch


def detectors_of(lock: Lock, plugins: Plugins) -> tuple[RunningDetector, list[RunningDetector]]:
    """The policy's own detector, and those of plugins that it needs, each after its sources. Raises PluginError for one that is not there."""
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


def own_watch(own: Detector) -> Watch:
    """The policy's own detector counts with all its labels; a video that nobody read is shown to it, and an error there."""
    return Watch(own.id, frozenset(own.labels), own.modalities | {Modality.VIDEO})


def admit(running: RunningDetector, detectors: dict[str, RunningDetector], lock: Lock) -> None:
    """Take a detector among those in use. Raises LockError where another of its name is there, or it would see the vectors of two encoders."""
    id_ = running.detector.id
    known = detectors.setdefault(id_, running)
    if known.detector is not running.detector:
        raise _same_name(lock.policy, id_)
    if known.encoder != running.encoder:
        raise LockError(
            f"policy {lock.policy!r}: detector {id_!r} would see vectors of encoder {running.encoder!r}, but another "
            f"policy gives it those of {known.encoder!r}; expected one encoder for each detector"
        )


def watches_of(
    who: str,
    names: Sequence[str],
    modalities: Collection[str],
    others: Sequence[Detector],
    *,
    scope: str = "the policy's scope is",
) -> list[Watch]:
    """Who needs a word names a detector (`keywords`: all its labels) or one label of it (`keywords/gambling`)."""
    meant = {detector.id: names_of(detector) for detector in others}
    labels = {detector.id: detector.labels for detector in others}
    for name in names:
        id_, _, label = name.partition("/")
        if name not in meant[id_]:
            raise LockError(f"{who}: detector {id_!r} has no label {label!r}{did_you_mean(label, labels[id_])}")
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


def counted_by_vectors(lock: Lock, others: Sequence[RunningDetector]) -> list[Detector]:
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


def check_detectors(policy: str, names: Sequence[str], modalities: Collection[str], plugins: Plugins) -> None:
    """Raises what `put_in_force` raises of a policy whose detectors are not there, lack a label, or would never be asked."""
    others = _brought(policy, names, plugins)
    watches_of(f"policy {policy!r}", names, modalities, others)
    for detector in others:
        _sources(policy, detector, others)
        if detector.id == policy:
            raise _same_name(policy, policy)


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
    return tuple(watches_of(who, names, detector.modalities, named, scope=f"{detector.id!r} judges"))


def _same_name(policy: str, id_: str) -> LockError:
    return LockError(f"policy {policy!r}: {id_!r} is a policy's id and a plugin detector's; expected different names")
