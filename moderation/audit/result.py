"""What an audit found, as values: one Audit, ready for JSON, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from moderation.audit.counterfactual import Counterfactuals
from moderation.audit.curves import CurvePoint, Reliability
from moderation.audit.earlier import SCHEMA, Earlier, Failure, Registration
from moderation.audit.gaps import Verdict
from moderation.audit.overturns import Overturn
from moderation.audit.ranking import Ranking


@dataclass(frozen=True, slots=True)
class Cell:
    """One group under one harm. `items` and what follows are the eligible ones; `rate` is None where there are none.

    `low` and `high` are Wilson's 95 % interval at the `effective` number of independent items; `pooled` is the rate drawn towards the
    whole, None where no group has any; `detectable` the smallest difference to the largest other group that would have been called a failure at 80 % power.
    """

    group: str
    items: int
    events: int
    clusters: int
    effective: float
    rate: float | None
    low: float
    high: float
    pooled: float | None
    detectable: float
    compared: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """The difference of two groups' rates, `a` the higher; bounds as gaps.Pair has them."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class FourFifths:
    """The four-fifths rule: screening only. `by_luck` is how often it fires where all rates are equal."""

    smallest: str
    largest: str
    ratio: float
    low: float | None
    high: float | None
    fires: bool
    by_luck: float


@dataclass(frozen=True, slots=True)
class HarmResult:
    """One pre-registered harm in one attribute. `p` is the permutation test's, `p_adjusted` over the family of `family` tests.

    `plain` says in one sentence what a harm that fails or is open comes to, and is empty else.
    `gaps` are the largest differences of `pairs` compared. `needed` is about how many independent items a group takes to show equal rates within the tolerance.
    """

    name: str
    metric: str
    action: str | None
    attribute: str
    tolerance: float
    set_by: str
    why: str
    required: bool
    verdict: Verdict
    reason: str
    plain: str
    p: float | None
    p_adjusted: float | None
    family: int
    needed: int
    pairs: int
    gaps: tuple[Gap, ...]
    cells: tuple[Cell, ...]
    four_fifths: FourFifths | None
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True)
class Intersection:
    """Attributes taken together under one harm: exploratory. `stands_out` is each cell's p, None where it is not compared.

    It is corrected over the `family` of all cells that are compared anywhere in the audit. `unseen` names the combinations without an item.
    """

    harm: str
    attributes: str
    cells: tuple[Cell, ...]
    stands_out: tuple[float | None, ...]
    family: int
    unseen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of `items`, None where there are none, with Wilson's 95 % interval that knows clusters."""

    events: int
    items: int
    rate: float | None
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class GroupCount:
    """How much was seen of one group, and what happens to it, whatever harm was declared.

    Items, violating, benign, clusters, and `lost`, those that could not be judged; items by action; the benign ones acted on
    (`wrongful`), the violating ones not acted on (`missed`), and all that go to review (`review`).
    """

    group: str
    items: int
    violating: int
    benign: int
    clusters: int
    lost: int
    actions: Mapping[str, int]
    wrongful: Rate
    missed: Rate
    review: Rate


@dataclass(frozen=True, slots=True)
class FunctionalTest:
    """One of the policy's tests, as `moderation policy test` left it for this very revision."""

    suite: str
    id: str
    kind: str
    status: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute as the policy declares it, and what is free of thresholds. `unknown` counts the items that do not state it."""

    name: str
    about: str
    source: str
    agreement: float | None
    unknown: int
    groups: tuple[GroupCount, ...]
    rankings: tuple[Ranking, ...]
    reliability: tuple[Reliability, ...]
    overturns: tuple[Overturn, ...]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The largest gap of one harm and attribute with the class design as it is, and changed, the share of items acted on held equal."""

    change: str
    harm: str
    attribute: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Association:
    """One violating phrase as a query: among the items nearest to it, the group most over its share of all; advisory.

    `skew` is the logarithm of share among the nearest over share of all; `p` that any difference of groups comes by chance, corrected.
    """

    phrase: str
    attribute: str
    nearest: int
    group: str
    share: float
    share_of_all: float
    skew: float
    p: float


@dataclass(frozen=True, slots=True)
class Audit:
    """All that one audit found.

    `registered` is the SHA-256 of the policy's audit block, as fixed before the data was opened, and `registrations` are all that these
    items were audited under, this one included; `failures` are audits of the same build that failed on other items; `data` is the SHA-256 of what was looked at: content, targets, clusters, groups; `inputs`
    the files that it stood in, as policy/inputs.py names them.
    """

    policy: str
    title: str
    version: str
    revision: str
    encoder: str
    registered: str
    registrations: tuple[Registration, ...]
    failures: tuple[Failure, ...]
    data: str
    inputs: Mapping[str, str]
    sampling: str | None
    agreement: float | None
    date: str
    by: str
    verdict: Verdict
    items: int
    violating: int
    clusters: int
    excluded: Mapping[str, int]
    attributes: tuple[Attribute, ...]
    harms: tuple[HarmResult, ...]
    intersections: tuple[Intersection, ...]
    counterfactuals: tuple[Counterfactuals, ...]
    sensitivity: tuple[Sensitivity, ...]
    associations: tuple[Association, ...]
    tests: tuple[FunctionalTest, ...]
    article_15: Mapping[str, Any]
    earlier: Earlier | None
    not_assessed: tuple[str, ...]
    limits: tuple[str, ...]
    versions: Mapping[str, str]
    command: str

    @property
    def refuses(self) -> bool:
        """Whether it stands against a release: a failure, here or on other items, or a required harm of which nothing is known."""
        return bool(self.failures) or any(
            one.verdict is Verdict.FAIL or (one.required and one.verdict is not Verdict.PASS) for one in self.harms
        )

    def to_dict(self) -> dict[str, Any]:
        """The audit as plain values, ready for JSON; keys are stable."""
        return {"schema": SCHEMA, **asdict(self)}


def overall(harms: tuple[HarmResult, ...]) -> Verdict:
    """The gravest of the verdicts; with no harm at all, nothing was assessed."""
    found = {one.verdict for one in harms}
    for verdict in (Verdict.FAIL, Verdict.INSUFFICIENT, Verdict.NOT_ASSESSED):
        if verdict in found:
            return verdict
    return Verdict.PASS if found else Verdict.NOT_ASSESSED
