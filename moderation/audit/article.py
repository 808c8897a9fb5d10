"""What Article 15(1)(e) of Regulation (EU) 2022/2065 asks of automated means: purpose, accuracy, error rates by language, safeguards."""

from __future__ import annotations

from typing import Any

import numpy as np

from moderation.audit.cells import cells_of
from moderation.audit.sample import Flags, Sample
from moderation.compiler.bounds import lower, upper
from moderation.policy.audit_block import Audit as Block
from moderation.policy.lock import Lock
from moderation.policy.schema import Policy

_SIDED = 0.025


def article_15(policy: Policy, block: Block, lock: Lock, sample: Sample) -> dict[str, Any]:
    """The block as plain values. Error rates are of the audit's items, with exact 95 % bounds at the number of independent items."""
    return {
        "means": f"embedding classifier of level {lock.level} over encoder {lock.encoder_identity[:16]}, thresholds certified",
        "purpose": policy.title,
        "languages": list(policy.scope.languages),
        "accuracy": [
            {
                "action": one.action,
                "promised": f"{one.metric} at least {one.at_least:g} with confidence {one.confidence:g}",
                "prevalence": {"low": policy.prevalence.low, "high": policy.prevalence.high},
                "certified": one.threshold is not None,
            }
            for one in lock.actions
        ],
        "error_rates_in_this_audit": _error_rates(sample, np.ones(len(sample), np.bool_)),
        "error_rates_by_language": {
            language: _error_rates(sample, rows) for language, rows in _languages(policy, block, sample).items()
        },
        "safeguards": [
            f"what cannot be judged gets the action {policy.on_error!r}",
            "thresholds are certified at a stated prevalence, on items that the classifier was not made from",
            *(f"{one.claim}: {one.handled_by}" for one in policy.definition.out_of_reach),
        ],
    }


def _languages(policy: Policy, block: Block, sample: Sample) -> dict[str, Flags]:
    """The items of each language: as an attribute about it says, or all where the policy is for one language only."""
    for one in block.attributes:
        if one.about == "language":
            groups = sample.groups[one.name]
            return {name: groups.codes == place for place, name in enumerate(groups.names)}
    return {policy.scope.languages[0]: np.ones(len(sample), np.bool_)} if len(policy.scope.languages) == 1 else {}


def _error_rates(sample: Sample, rows: Flags) -> dict[str, Any]:
    acted = sample.force > 0
    sides = {"false_positive": (rows & ~sample.target, acted), "false_negative": (rows & sample.target, ~acted)}
    return {name: _rate(sample, eligible, event) for name, (eligible, event) in sides.items()}


def _rate(sample: Sample, eligible: Flags, event: Flags) -> dict[str, Any]:
    count = int(eligible.sum())
    one = np.zeros(count, np.int64)
    cells = cells_of(one, event[eligible].astype(np.float64), sample.cluster[eligible], groups=1)
    units, rate = float(cells.effective[0]), float(np.nan_to_num(cells.rate[0]))
    bounds = float(lower(rate * units, units, _SIDED)), float(upper(rate * units, units, _SIDED))
    return {"rate": rate if count else None, "low": bounds[0], "high": bounds[1], "items": count}
