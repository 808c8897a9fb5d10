"""What a policy's passed tests touch: concepts, clauses, groups and actions; what no test touches is named."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moderation.policy.schema import Policy
from moderation.release.policy_tests import Status, TestReport


@dataclass(frozen=True, slots=True)
class Share:
    """How much of one kind is covered; `missing` names the rest."""

    kind: str
    covered: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def share(self) -> float:
        """From 0 to 1; 1 where there is nothing to cover."""
        every = len(self.covered) + len(self.missing)
        return len(self.covered) / every if every else 1.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """The shares of one policy, and the least of them."""

    shares: tuple[Share, ...]

    @property
    def least(self) -> float:
        """The smallest share of any kind."""
        return min(one.share for one in self.shares)

    def to_dict(self) -> dict[str, Any]:
        """The coverage as plain values, ready for JSON."""
        kinds = {
            one.kind: {"share": round(one.share, 4), "covered": list(one.covered), "missing": list(one.missing)}
            for one in self.shares
        }
        return {"least": round(self.least, 4), **kinds}


def measure_coverage(
    policy: Policy, report: TestReport, *, audited: Mapping[str, Iterable[str]] | None = None
) -> Coverage:
    """What the tests that passed touch.

    A concept: a test says that it covers it, or an item was flagged for one of its phrases. A clause: a test says so, or covers a concept
    that stands for it. An action: an item got it. A group, of the attributes and values `audited`: an item of it was judged.
    """
    passed = [one for one in report.results if one.status in {Status.PASSED, Status.PROMOTE}]
    said = {name for one in passed for name in one.covers}
    phrases = {phrase for one in passed for phrase in one.phrases}
    concepts = (*policy.concepts.violating, *policy.concepts.contrast)
    touched = {one.id for one in concepts if one.id in said or phrases & set(one.phrases)}
    clauses = said | {clause for one in concepts if one.id in touched for clause in one.covers}
    actions = {action for one in passed for action in one.actions}
    seen = {(name, value) for one in passed for name, values in one.groups.items() for value in values}
    groups = {(name, value) for name, values in (audited or {}).items() for value in values}
    return Coverage(
        (
            _share("concepts", [one.id for one in concepts], touched),
            _share("clauses", [one.id for one in (*policy.definition.violates, *policy.definition.allowed)], clauses),
            _share("actions", [one.action for one in policy.actions], actions),
            _share("groups", [_named(one) for one in sorted(groups)], {_named(one) for one in seen}),
        )
    )


def _share(kind: str, every: list[str], touched: Iterable[str]) -> Share:
    covered, known = set(touched), list(dict.fromkeys(every))
    return Share(kind, tuple(one for one in known if one in covered), tuple(one for one in known if one not in covered))


def _named(group: tuple[str, str]) -> str:
    return f"{group[0]} {group[1]}"
