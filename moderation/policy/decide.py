"""Scores into verdicts, verdicts into the action of one item. Pure: no clock, no file, no detector, no encoder.

The whole rule: a cut fires when the policy's score, rounded to 1e-6, is at or above it; of all that fires, the
strongest action counts; what could not be judged is never taken for harmless; only builds that are live may act, as far as their limits let them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from moderation.decision import LIVE, Abstention, Decision, Outcome, Score, Severity, Timing, Verdict
from moderation.item import Region
from moderation.policy.calibration import Calibration
from moderation.policy.lock import Quota

REVIEW = "review"
DIGITS = 6
_RANK = attrgetter("rank")
_NONE: Mapping[str, str] = MappingProxyType({})
UNCERTIFIED, NO_SCORE = "uncertified", "no_score"


@dataclass(frozen=True, slots=True)
class Cut:
    """One certified threshold: the action fires at `score >= threshold`."""

    action: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides under one policy.

    `epsilon` is how far this machine's scores may lie from those the cuts were certified on; `max_parts` is the largest
    number of parts of one item that was certified; `company` is how far a score may move with what else is in its batch. `calibration` tells readers what a score means; nothing is decided by it. `share` and
    `quota` bound what is acted on (rollout/limits.py), never what is found.
    """

    policy: str
    version: str
    revision: str
    status: str
    severity: Severity
    on_error: str
    cuts: tuple[Cut, ...]
    max_parts: int
    epsilon: float = 0.0
    company: float = 0.0
    calibration: Calibration | None = None
    share: float = 1.0
    quota: Quota | None = None


class Finding(NamedTuple):
    """What one detector said of one part, under one label: a score or an abstention. `region` is the part's place in the picture that it was derived from."""

    part: str
    answer: Score | Abstention
    detector: str | None = None
    region: Region | None = None


def judge(terms: Terms, findings: Sequence[Finding], *, parts: int, order: Sequence[str]) -> Verdict:
    """One policy's verdict on one item. `parts` counts the item's parts in the policy's scope; `order` is by force.

    The score is the highest over parts and labels. A match stands beside an abstention when it is at least as strong as
    `on_error`; otherwise an abstention makes the verdict an error, whose action is `on_error`. A policy without a cut
    cannot decide: error `uncertified`, its score still shown.
    """
    top, silent = highest(findings), _silent(findings)
    if not terms.cuts:
        return _error(terms, top, Finding("", Abstention(UNCERTIFIED)))
    if top is None:
        return _error(terms, top, silent or Finding("", Abstention(NO_SCORE)))
    value = _value(top)
    cut, action, outcome = _fire(terms, value, too_many=parts > terms.max_parts, order=order)
    if silent and _force(action, order) < _force(terms.on_error, order):
        return _error(terms, top, silent, cut=cut)
    return _verdict(terms, top, value, outcome=outcome, action=action, cut=cut)


def is_close(terms: Terms, findings: Sequence[Finding]) -> bool:
    """Whether another company in its batch might take the score across a place at which something else is decided."""
    top = highest(findings) if terms.cuts else None
    if top is None:
        return False
    value = _value(top)
    for cut in terms.cuts:
        apart = abs(value - cut.threshold)
        if apart <= terms.company or abs(apart - terms.epsilon) <= terms.company:
            return True
    return False


def answer(
    item: str,
    verdicts: tuple[Verdict, ...],
    order: Sequence[str],
    *,
    encoders: Mapping[str, str],
    timing: Timing = Timing(),  # noqa: B008 - a frozen value
    cache_hit: bool = False,
    detectors: Mapping[str, str] = _NONE,
    id_: str = "",
) -> Decision:
    """The decision on an item under these verdicts: all are marked and kept, those of live builds act. `order` is by force.

    `id_` is its id where something else than item and revisions shall name it.
    """
    proposed, severity = strongest(verdicts, order)
    action = proposed
    if not all(one.status == LIVE and not one.limit for one in verdicts):
        acting = [replace(one, action=one.asked) if one.limit else one for one in verdicts if one.status == LIVE]
        action, severity = strongest(acting, order)
    return Decision(
        item_id=item,
        decision_id=id_ or decision_id(item, verdicts, detectors),
        action=action,
        severity=severity,
        proposed=proposed,
        verdicts=verdicts,
        encoders=dict(encoders),
        timing=timing,
        cache_hit=cache_hit,
        detectors=dict(detectors),
    )


def strongest(verdicts: Iterable[Verdict], order: Sequence[str]) -> tuple[str, Severity]:
    """The action and severity that verdicts ask for: the strongest action by `order`, its weakest name where no verdict asks for one.

    The severity is the gravest of the verdicts that ask for more than the weakest action, `info` where none does.
    """
    action, severity = order[0], Severity.INFO
    for one in verdicts:
        if one.action is not None and one.action != order[0]:
            action = max(action, one.action, key=order.index)
            severity = max(severity, one.severity, key=_RANK)
    return action, severity


def decision_id(item: str, verdicts: Iterable[Verdict], detectors: Mapping[str, str] = _NONE) -> str:
    """32 hex digits that are the same whenever the same item is decided under the same revisions, of builds and of detectors."""
    named = json.dumps([item, *([one.policy, one.revision] for one in verdicts), *sorted(detectors.items())])
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def final_score(findings: Sequence[Finding]) -> Score | Abstention:
    """A policy's score on one item, rounded to 1e-6; an abstention where any finding is one, or there is none at all.

    Its `detail` is then the id of the detector that had no score.
    """
    top, silent = highest(findings), _silent(findings)
    if silent or top is None or isinstance(top.answer, Abstention):
        if silent is None or not isinstance(silent.answer, Abstention):
            return Abstention(NO_SCORE)
        return replace(silent.answer, detail=silent.detector or "")
    return replace(top.answer, value=_value(top))


def highest(findings: Iterable[Finding]) -> Finding | None:
    """The finding that carries the policy's score; ties go by label, then part, concept, detector and region, never by the order they came in."""
    scored = [one for one in findings if isinstance(one.answer, Score)]
    return scored[0] if len(scored) == 1 else max(scored, key=_standing, default=None)


def _silent(findings: Iterable[Finding]) -> Finding | None:
    """The abstention that is told of an item: the first by reason, then cause, detector, part and region, never the order they came in."""
    named = [
        ((one.answer.reason, one.answer.cause, one.detector or "", one.part, one.region or ()), one)
        for one in findings
        if isinstance(one.answer, Abstention)
    ]
    return min(named, key=lambda pair: pair[0])[1] if named else None


def _standing(finding: Finding) -> tuple[float, str, str, str, str, tuple[float, ...]]:
    score = finding.answer
    if isinstance(score, Abstention):
        return -1.0, "", "", "", "", ()
    tie = score.label, finding.part, score.concept or "", finding.detector or "", finding.region or ()
    return _value(finding), *tie


def _value(finding: Finding) -> float:
    return round(finding.answer.value, DIGITS) if isinstance(finding.answer, Score) else 0.0


def _fire(terms: Terms, value: float, *, too_many: bool, order: Sequence[str]) -> tuple[Cut, str | None, Outcome]:
    """What surely fires stands; what only might fire (within ε, or on more parts than certified) counts up to review.

    Where the platform has no action named `review`, the policy's `on_error` takes its place.
    """
    might = _strongest_cut(terms.cuts, round(value + terms.epsilon, DIGITS), order)
    if might is None:
        return min(terms.cuts, key=lambda cut: cut.threshold), None, Outcome.NO_MATCH
    sure = None if too_many else _strongest_cut(terms.cuts, round(value - terms.epsilon, DIGITS), order)
    if sure is not might:
        capped = min(might.action, REVIEW if REVIEW in order else terms.on_error, key=order.index)
        if sure is None or _force(sure.action, order) < _force(capped, order):
            return might, capped, Outcome.REVIEW
    return sure, sure.action, Outcome.REVIEW if sure.action == REVIEW else Outcome.MATCH


def _strongest_cut(cuts: Sequence[Cut], value: float, order: Sequence[str]) -> Cut | None:
    fired = [cut for cut in cuts if value >= cut.threshold]
    if len(fired) < 2:
        return fired[0] if fired else None
    return max(fired, key=lambda cut: order.index(cut.action))


def _force(action: str | None, order: Sequence[str]) -> int:
    return -1 if action is None else order.index(action)


def _verdict(
    terms: Terms,
    top: Finding | None,
    value: float | None,
    *,
    outcome: Outcome,
    action: str | None,
    cut: Cut | None = None,
) -> Verdict:
    score = top.answer if top is not None and isinstance(top.answer, Score) else None
    known = None if value is None else terms.calibration
    return Verdict(
        policy=terms.policy,
        version=terms.version,
        revision=terms.revision,
        status=terms.status,
        outcome=outcome,
        severity=terms.severity,
        action=action,
        score=value,
        calibrated=None if known is None or value is None else round(known.probability(value), DIGITS),
        threshold=None if cut is None else cut.threshold,
        margin=None if cut is None or value is None else round(value - cut.threshold, DIGITS),
        concept=None if score is None else score.concept,
        evidence=None if score is None else score.evidence,
        part=None if top is None else top.part,
        region=None if top is None else top.region,
        detector=None if top is None else top.detector,
        label=None if score is None else score.label,
    )


def _error(terms: Terms, top: Finding | None, silent: Finding, *, cut: Cut | None = None) -> Verdict:
    """An `error` verdict, which names who had no score and why; a score that another had is still shown."""
    told = _verdict(terms, top, _value(top) if top else None, outcome=Outcome.ERROR, action=terms.on_error, cut=cut)
    missing = silent.answer
    if isinstance(missing, Abstention):
        who = silent.detector or told.detector
        label = told.label if who == told.detector else None  # a label is its own detector's
        told = replace(told, detector=who, label=label, error=missing.reason, cause=missing.cause or None)
    return told
