"""Bands, trade-off curves and calibrations in plain words: what lies between the thresholds of a lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moderation.policy.bands import Band
    from moderation.policy.lock import Lock, LockedAction
    from moderation.policy.schema import Prevalence

_COLUMNS = ("threshold", "recall at least", "traffic at most", "violating flagged", "benign flagged")


def as_plain(found: Sequence[Band]) -> list[dict[str, Any]]:
    """Bands as plain values, the strongest action first."""
    return [
        {"action": one.action, "low": one.low, "high": one.high, "above": one.above, "empty": one.empty}
        for one in found
    ]


def bands(found: Sequence[Band]) -> Iterator[str]:
    """Which scores get which action, and a warning for an action that no score can get."""
    if found:
        yield f"bands: {', '.join(_band(one) for one in found if not one.empty)}; nothing below"
    for one in found:
        if one.empty:
            yield (
                f"WARNING: the band of {one.action} is empty: its threshold {one.low:.6f} is not below {one.high:.6f}, "
                f"where {one.above} takes over"
            )


def _band(one: Band) -> str:
    return f"{one.action} from {one.low:.6f}" + (f" to below {one.high:.6f}" if one.high is not None else "")


def shares(found: Sequence[Band], actions: Sequence[LockedAction], prevalence: Prevalence) -> Iterator[str]:
    """What share of traffic each band will probably get, at both ends of the prevalence: an estimate from observed rates."""
    rates = {(one.action, one.threshold): one.certificate or {} for one in actions}
    for one in found:
        own = rates.get((one.action, one.low), {})
        taken = rates.get((one.above or "", one.high), {}) if one.above else {"tpr": 0.0, "fpr": 0.0}
        if one.empty or not all({"tpr", "fpr"} <= known.keys() for known in (own, taken)):
            continue
        true, false = own["tpr"] - taken["tpr"], own["fpr"] - taken["fpr"]
        low, high = sorted(share * true + (1.0 - share) * false for share in (prevalence.low, prevalence.high))
        yield f"{one.action} is expected to get {low:.2%} to {high:.2%} of traffic"


def trade_off(action: LockedAction) -> Iterator[str]:
    """The curve behind a budget that cannot be kept, a table of thresholds; nothing where there is none."""
    points: Sequence[Mapping[str, float]] = (action.shortfall or {}).get("trade_off", ())
    if not points:
        return
    yield "recall and traffic, each as if its threshold had been fixed in advance:"
    yield "  ".join(f"{name:>17}" for name in _COLUMNS)
    for one in points:
        counts = (str(one.get("flagged_violating", "?")), str(one.get("flagged_benign", "?")))
        figures = (f"{one['threshold']:.6f}", f"{one['recall_lower']:.3f}", f"{one['share_upper']:.2%}", *counts)
        yield "  ".join(f"{figure:>17}" for figure in figures)


def calibration(lock: Lock) -> Iterator[str]:
    """How scores are told as probabilities, and how far they can be believed."""
    found = lock.evidence.get("calibration", {})
    if not found:
        return
    if lock.calibration is None:
        yield f"not calibrated: {found.get('reason', 'no reason is known')}"
        return
    yield f"calibrated at prevalence {found['prevalence']:g}, for readers: {found['reason']}"
    if measured := found.get("reliability"):
        yield (
            f"  cross-fitted: log loss {measured['log_loss']:.4f} ({measured['log_loss_of_prevalence']:.4f} by telling all the "
            f"prevalence), expected error {measured['expected_error']:.4f}, told minus found {measured['gap']:+.4f}, "
            f"{measured['gap_at_top']:+.4f} among the highest"
        )
    told = ", ".join(f"{score:g} is {lock.calibration.probability(score):.3f}" for score in (0.1, 0.25, 0.5, 0.75, 0.9))
    yield f"  score {told}"
