"""Samples made for audit tests: judged items with planted rates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moderation.audit.gaps import square_and_add
from moderation.audit.sample import Judged, Sample, make_sample
from moderation.compiler.intervals import wilson
from moderation.policy.audit_block import Audit
from moderation.policy.manifest import TargetRow


def judged(
    number: int,
    *,
    score: float | None = 0.1,
    target: bool = False,
    force: int = 0,
    review: bool = False,
    cluster: str = "",
    error: str | None = None,
    **attributes: str,
) -> Judged:
    row = TargetRow(None, f"item {number}", f"{number:064d}", target, cluster or f"alone {number}", attributes)
    return Judged(row, score, force, review=review, error=error)


def sample_of(items: Sequence[Judged], attributes: Sequence[str] = ("group",), clusters: str | None = None) -> Sample:
    return make_sample(items, attributes, clusters=clusters)


def planted(rates: Mapping[str, float], size: int, *, seed: int, target: bool = False) -> Sample:
    """`size` items of each group, of which about this share is acted on (or scores high, where they are violating)."""
    random, items = np.random.default_rng(seed), []
    for group, rate in rates.items():
        for hit in random.random(size) < rate:
            score = float(random.uniform(0.5, 1.0) if hit else random.uniform(0.0, 0.5))
            items.append(judged(len(items), score=score, force=int(hit), review=bool(hit), target=target, group=group))
    return sample_of(items)


def block(*harms: Mapping[str, Any], **settings: Any) -> Audit:
    """An audit block; harms lack only what a test does not care about."""
    usual = {"name": "wrongful", "metric": "fpr", "tolerance": 0.02, "set_by": "lead", "why": "capacity"}
    attributes = settings.pop("attributes", [{"name": "group", "about": "depicted", "source": "annotators"}])
    made = {"attributes": attributes, "harms": [{**usual, **one} for one in (harms or ({},))], **settings}
    return Audit.model_validate(made, strict=False)


def newcombe(hits_a: float, trials_a: float, hits_b: float, trials_b: float) -> tuple[float, float]:
    """Newcombe's interval of the difference of two independent shares, by what the audit's own intervals are made of."""
    one, other = ((np.array(k / n), *wilson(k, n, 0.95)) for k, n in ((hits_a, trials_a), (hits_b, trials_b)))
    low, high = square_and_add(one, other, correlation=np.array(0.0))
    return float(low), float(high)
