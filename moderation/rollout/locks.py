"""Locks into force: verified against the encoders, detectors and action names that are really there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from moderation.decision import DRAFT
from moderation.embedding.embedder import Embedder
from moderation.errors import LockError
from moderation.meant import did_you_mean
from moderation.plugin.brought import Plugins
from moderation.policy.decide import Cut, Terms
from moderation.policy.lock import Lock
from moderation.reader.step import Readers
from moderation.rollout.company import measure_company
from moderation.rollout.detectors import admit, counted_by_vectors, detectors_of, own_watch, watches_of
from moderation.rollout.encoders import check_bound, check_encoder, epsilon_of
from moderation.rollout.readers import readers_for
from moderation.rollout.running import RunningDetector, RunningPolicy, RunningSet


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
        own, others = detectors_of(lock, plugins)
        for running in (own, *others):
            admit(running, detectors, lock)
        watches = watches_of(
            f"policy {lock.policy!r}", lock.detectors, lock.modalities, [one.detector for one in others]
        )
        check_encoder(lock, embedders)
        for running in others:
            check_bound(running.detector, lock, embedders[lock.encoder])
            needed.setdefault(running.detector.id, f"policy {lock.policy!r}")
        embedder, hanging = embedders[lock.encoder], counted_by_vectors(lock, others)
        policies[lock.policy] = RunningPolicy(
            lock,
            terms_of(
                lock,
                actions=actions,
                epsilon=epsilon_of(lock, embedder.encoder, hanging),
                company=measure_company(lock, embedder, hanging),
                status=(statuses or {}).get(lock.policy, DRAFT),
            ),
            (own_watch(own.detector), *watches),
            embedder.encoder.fingerprint.numeric,
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
