"""An audit beside earlier ones: what became of each harm and group, and under which harms the same items were audited before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = "audit/v1"


@dataclass(frozen=True, slots=True)
class Registration:
    """One audit block, by SHA-256, under which items, by SHA-256 too, were audited, and the day on which they first were."""

    registered: str
    data: str
    date: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An audit of the same build that failed on other items, by their SHA-256, and its day."""

    date: str
    data: str


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One group's rate under one harm in an earlier audit and in this one; None where it was not there, or undefined."""

    group: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """One harm in one attribute: its largest gap and verdict in an earlier audit and in this one, and every group's rate."""

    harm: str
    attribute: str
    before: float | None
    after: float | None
    verdict_before: str
    verdict_after: str
    groups: tuple[GroupChange, ...]


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier audit of the policy, and what changed since; where items or harms are others, so may be the reason of a change."""

    version: str
    revision: str
    date: str
    same_items: bool
    same_harms: bool
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class PastHarm:
    """One harm in one attribute as an audit left it: its largest gap, its verdict, and each group's rate."""

    gap: float | None
    verdict: str
    rates: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Past:
    """What of an audit another one is compared with; `harms` by name and attribute."""

    policy: str
    version: str
    revision: str
    date: str
    data: str
    registered: str
    registrations: tuple[Registration, ...]
    failures: tuple[Failure, ...]
    harms: Mapping[tuple[str, str], PastHarm]


def recall(audit: Any) -> Past:
    """An audit from the plain values of its JSON. Raises ValueError where they are no whole audit."""
    if not isinstance(audit, Mapping) or audit.get("schema") != SCHEMA:
        raise ValueError(f"expected an audit written as {SCHEMA}")
    try:
        named = {name: str(audit[name]) for name in ("policy", "version", "revision", "date", "data", "registered")}
        known = tuple(Registration(**one) for one in audit.get("registrations", ()))
        failed = tuple(Failure(**one) for one in audit.get("failures", ()))
        return Past(
            **named, registrations=known, failures=failed, harms={_name(one): _harm(one) for one in audit["harms"]}
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"expected a whole audit written as {SCHEMA}; {type(error).__name__}: {error}") from None


def since(now: Past, before: Past) -> Earlier:
    """What changed between two audits."""
    return Earlier(
        version=before.version,
        revision=before.revision,
        date=before.date,
        same_items=before.data == now.data,
        same_harms=before.registered == now.registered,
        changes=tuple(_change(name, harm, before.harms.get(name)) for name, harm in now.harms.items()),
    )


def registrations(registered: str, data: str, date: str, before: Past | None) -> tuple[Registration, ...]:
    """Every registration under which these very items were audited, the first one first, this one included."""
    found = [one for one in (before.registrations if before else ()) if one.data == data]
    if registered not in {one.registered for one in found}:
        found.append(Registration(registered, data, date))
    return tuple(found)


def failures(revision: str, data: str, before: Past | None) -> tuple[Failure, ...]:
    """The audits of this very build that failed on other items than these: another sample does not undo one."""
    if before is None or before.revision != revision:
        return ()
    now = [Failure(before.date, before.data)] if any(one.verdict == "fail" for one in before.harms.values()) else []
    return tuple(one for one in dict.fromkeys((*before.failures, *now)) if one.data != data)


def _name(harm: Mapping[str, Any]) -> tuple[str, str]:
    return harm["name"], harm["attribute"]


def _harm(plain: Mapping[str, Any]) -> PastHarm:
    gap = plain["gaps"][0]["difference"] if plain["gaps"] else None
    return PastHarm(gap, plain["verdict"], {cell["group"]: cell["rate"] for cell in plain["cells"]})


def _change(name: tuple[str, str], now: PastHarm, before: PastHarm | None) -> Change:
    rates = before.rates if before else {}
    groups = dict.fromkeys((*now.rates, *rates))
    return Change(
        *name,
        before=before.gap if before else None,
        after=now.gap,
        verdict_before=before.verdict if before else "not there",
        verdict_after=now.verdict,
        groups=tuple(GroupChange(one, rates.get(one), now.rates.get(one)) for one in groups),
    )
