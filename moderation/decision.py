"""What is decided: scores, verdicts and decisions, and what takes decisions in. Values only; the rules stand in policy/decide.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, Protocol

from moderation.cheap import cheap_dataclass
from moderation.item import Region

DRAFT, LIVE = "draft", "live"  # statuses of a build; only a live one may act


class Outcome(StrEnum):
    """What one policy found on one item."""

    MATCH = "match"
    REVIEW = "review"
    NO_MATCH = "no_match"
    ERROR = "error"


class Severity(StrEnum):
    """How grave a policy's breach is; set by the policy, ordered by `rank`."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info up to 4 for critical."""
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True)
class Score:
    """How risky one label is on one part: `value` in [0, 1], higher is riskier.

    `concept` names what carried the score, for people; `evidence`, where a detector can tell, what each concept adds to the
    score's log odds, below 0 where it lowers the score. Raises ValueError outside [0, 1] and for NaN.
    """

    label: str
    value: float
    calibrated: bool = False
    concept: str | None = None
    evidence: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise ValueError(f"score of label {self.label!r} is {self.value}; expected a number in [0, 1]")


@dataclass(frozen=True, slots=True)
class Abstention:
    """A detector could not judge a part: never a score of 0.

    `reason` is a stable word and `cause` one that says more, both kept in decisions; `detail` is for people and is not, since it
    may quote content.
    """

    reason: str
    detail: str = ""
    cause: str = ""


@cheap_dataclass(frozen=True, slots=True)
class Verdict:
    """One policy's finding on one item, with everything needed to replay it.

    `threshold` is the cut that decided (for `no_match`, the lowest cut), `margin` is score minus threshold;
    `detector` and `label` carried the score, or where the outcome is `error`, `detector` had none; `error` is the stable reason
    of such an outcome and `cause` a word that says more. `limit` names what held the action back, `rollout` or `quota`, and
    `limited_to` the action that is asked for instead, if any. `calibrated` is the estimated probability that the item violates, at the
    prevalence of the policy: for readers, no threshold is compared with it; None where the lock has no calibration. `evidence` is
    that of the score. `region` is the place in a picture that the score is of (left, top, right, bottom, in fractions of the picture held upright),
    None where that is the whole `part`.
    """

    policy: str
    version: str
    revision: str
    status: str
    outcome: Outcome
    severity: Severity
    action: str | None = None
    score: float | None = None
    calibrated: float | None = None
    threshold: float | None = None
    margin: float | None = None
    concept: str | None = None
    evidence: Mapping[str, float] | None = None
    part: str | None = None
    region: Region | None = None
    detector: str | None = None
    label: str | None = None
    error: str | None = None
    cause: str | None = None
    limit: str | None = None
    limited_to: str | None = None

    @property
    def asked(self) -> str | None:
        """The action that a live build asks for, after its limits."""
        return self.limited_to if self.limit else self.action

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain values, by field."""
        plain = dict(
            zip(_VERDICT, _verdict_values(self), strict=True)
        )  # one C call: half a decision's time went into this
        plain["outcome"], plain["severity"] = self.outcome.value, self.severity.value
        if self.evidence is not None:
            plain["evidence"] = dict(self.evidence)
        if self.region is not None:
            plain["region"] = list(self.region)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verdict:
        """A verdict from what `to_dict` made, now or before a field was added."""
        region = data.get("region")
        kinds = {"outcome": Outcome(data["outcome"]), "severity": Severity(data["severity"])}
        return cls(**{**data, **kinds, "region": None if region is None else tuple(region)})


_VERDICT = tuple(one.name for one in fields(Verdict))
_verdict_values = attrgetter(*_VERDICT)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds in each step, an even share of what the item's batch took: summed over items they are the run's. Who is not judged has only a share of reading."""

    decode: float = 0.0
    encode: float = 0.0
    detect: float = 0.0
    read: float = 0.0

    def plus(self, more: Timing) -> Timing:
        """Both together."""
        return Timing(
            self.decode + more.decode, self.encode + more.encode, self.detect + more.detect, self.read + more.read
        )

    def shared_by(self, items: int) -> Timing:
        """The share of one of so many items; of none, nothing was spent."""
        if not items:
            return Timing()
        return Timing(self.decode / items, self.encode / items, self.detect / items, self.read / items)


@cheap_dataclass(frozen=True, slots=True)
class Decision:
    """The one answer for an item, and every verdict behind it.

    `action` is what the platform is asked to do: the strongest action of the verdicts of live builds alone, and `severity` goes with
    it. `proposed` is what would be asked if every build were live and nothing held it back. `encoders` maps a modality to the fingerprint that embedded it;
    `cache_hit` is true when nothing was encoded. `detectors` has the revisions of those of plugins' detectors that were asked and state one, by id.
    """

    item_id: str
    decision_id: str
    action: str
    severity: Severity
    proposed: str
    verdicts: tuple[Verdict, ...]
    encoders: Mapping[str, str]
    timing: Timing = Timing()
    cache_hit: bool = False
    detectors: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The decision as plain values, ready for JSON; the inverse of `from_dict`."""
        timing = self.timing
        return {
            "item_id": self.item_id,
            "decision_id": self.decision_id,
            "action": self.action,
            "severity": self.severity.value,
            "proposed": self.proposed,
            "verdicts": [one.to_dict() for one in self.verdicts],
            "encoders": dict(self.encoders),
            "timing": {
                "decode": timing.decode,
                "encode": timing.encode,
                "detect": timing.detect,
                "read": timing.read,
            },
            "cache_hit": self.cache_hit,
            "detectors": dict(self.detectors),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Decision:
        """A decision from what `to_dict` made."""
        verdicts = tuple(Verdict.from_dict(one) for one in data["verdicts"])
        return cls(
            **{
                **data,
                "severity": Severity(data["severity"]),
                "verdicts": verdicts,
                "encoders": dict(data["encoders"]),
                "detectors": dict(data.get("detectors", {})),
                "timing": Timing(**data["timing"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Delivery:
    """A decision on its way to a sink, as plain values (docs/decision.schema.json); `repr` holds no content.

    `id` is the decision's own, the same each time that it is sent, so that a receiver can drop a second one. Deliveries of one `partition` are
    to be taken in their order. `time_ms` is the record's, in milliseconds since 1970.
    """

    id: str
    decision: Mapping[str, Any] = field(repr=False)
    partition: str = ""
    time_ms: int = 0


@dataclass(frozen=True, slots=True)
class Delivered:
    """The sink has it, and will not lose it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The sink will never take this one, and takes others: a dead letter. `reason` is a stable word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Again:
    """Not now, but no sooner than in `seconds`. `tried` is false where the sink left off before it came to this one, `busy` true where whoever is
    behind it only has too much to do, which says nothing of this one: it never becomes a dead letter for that.
    """

    reason: str
    seconds: float = 0.0
    tried: bool = True
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The sink will take no decision at all until a person has seen to it: the process ends."""

    reason: str


Receipt = Delivered | Refused | Again | Gone


class Sink(Protocol):
    """Where decisions go. `id` is unique among sinks; it may have methods for its life (`detector/life.py`).

    A delivery may come again, whatever was said of it: by its id it is the same one.
    """

    @property
    def id(self) -> str:
        """A short name, unique among all sinks."""
        ...

    def deliver(self, deliveries: Sequence[Delivery], seconds: float) -> Sequence[Receipt]:
        """For each delivery, in order, a receipt, within so many seconds: what is not done by then is to be tried `Again`.

        After one of a partition that is to be tried again, no later one of that partition may be taken.
        """
        ...
