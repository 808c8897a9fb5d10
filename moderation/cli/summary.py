"""What a scan came to, counted decision by decision and told in a few small tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from moderation.cli import terminal
from moderation.decision import LIVE, Decision, Outcome

# So many items of each cause are named, and so many files that were left alone.
NAMED = 3
RATED = 100  # of fewer items the rate would tell of how the first of them began


@dataclass(slots=True)
class Failed:
    """The items that erred for one reason and cause: how many, and the first few by name."""

    items: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, item: str) -> None:
        """Count one item."""
        self.items += 1
        if len(self.first) < NAMED:
            self.first.append(item)


@dataclass(slots=True)
class Summary:
    """What a scan came to: counts by action, by policy and outcome, and by reason and cause of an error.

    `proposed` counts what every build together would ask for, `actions` what live builds ask for within their limits; `waiting` are the
    policies that are not live, each with its status, `limited` counts what was held back, by policy and limit. `order` are all names of actions, weakest first: actions are told in it, `kinds` what files
    end in that are not left alone.
    """

    order: Sequence[str]
    left_alone: Sequence[str] = ()
    kinds: Sequence[str] = ()
    items: int = 0
    hits: int = 0
    out_of_scope: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    proposed: Counter[str] = field(default_factory=Counter)
    waiting: dict[str, str] = field(default_factory=dict)
    limited: Counter[tuple[str, str]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    causes: dict[tuple[str, str], Failed] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    def add(self, decision: Decision) -> None:
        """Count one decision."""
        self.items += 1
        self.hits += decision.cache_hit
        self.out_of_scope += not decision.verdicts
        self.actions[decision.action] += 1
        self.proposed[decision.proposed] += 1
        for verdict in decision.verdicts:
            if verdict.status != LIVE:
                self.waiting[verdict.policy] = verdict.status
            self.outcomes[verdict.policy, verdict.outcome.value] += 1
            if verdict.limit:
                self.limited[verdict.policy, verdict.limit] += 1
            if verdict.error:
                self.errors[verdict.policy, verdict.error, verdict.cause or ""] += 1
        for named in {(one.error, one.cause) for one in decision.verdicts if one.error and one.cause}:
            self.causes.setdefault(named, Failed()).add(decision.item_id)

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, ready for JSON: every file that was left alone, and the first items of each cause."""
        errors = [
            {"policy": policy, "error": error, "cause": cause or None, "items": count}
            for (policy, error, cause), count in self._errors()
        ]
        causes = [
            {"error": error, "cause": cause, "items": failed.items, "first": list(failed.first)}
            for (error, cause), failed in self._causes()
        ]
        return {
            "schema": "scan-summary/v1",
            "items": self.items,
            "cache_hits": self.hits,
            "out_of_scope": self.out_of_scope,
            "actions": self._by_force(self.actions),
            "proposed": self._by_force(self.proposed),
            "not_live": dict(sorted(self.waiting.items())),
            "limited": [{"policy": policy, "limit": limit, "items": n} for (policy, limit), n in self._limited()],
            "policies": {policy: dict(outcomes) for policy, outcomes in self._outcomes()},
            "errors": errors,
            "causes": causes,
            "left_alone": list(self.left_alone),
        }

    def _limited(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.limited.items())

    def print(self, *, to_stderr: bool) -> None:
        """The summary for people."""
        tell = terminal.note if to_stderr else terminal.say
        seconds = time.perf_counter() - self.started
        rate = f" ({self.items / seconds:.1f} items/s)" if self.items >= RATED else ""
        tell(f"{terminal.counted(self.items, 'item')} in {seconds:.1f} s{rate}, {self.hits} from the cache")
        proposed = self._by_force(self.proposed)
        if self.waiting or self.limited:
            rows = [[name, count, self.actions[name]] for name, count in proposed.items()]
            terminal.table(["action", "proposed", "asked for"], rows, to_stderr=to_stderr)
        else:
            terminal.table(["action", "items"], list(proposed.items()), to_stderr=to_stderr)
        if self.waiting:
            named = ", ".join(f"{policy} ({status})" for policy, status in sorted(self.waiting.items()))
            tell(f"not live, so nothing is asked for: {named}; moderation policy release makes a build live")
        for (policy, limit), count in self._limited():
            tell(f"held back by the {limit} of {policy}: {terminal.counted(count, 'item')}")
        rows = [[policy, *(count for _, count in outcomes)] for policy, outcomes in self._outcomes()]
        terminal.table(["policy", *(outcome.value for outcome in Outcome)], rows, to_stderr=to_stderr)
        if self.errors:
            rows = [[*named, count] for named, count in self._errors()]
            terminal.table(["policy", "error", "cause", "items"], rows, to_stderr=to_stderr)
        for (error, cause), failed in self._causes():
            tell(f"{error} ({cause}): {with_names('item', failed.items, failed.first)}")
        if self.out_of_scope:
            tell(f"not judged, in no policy's scope: {terminal.counted(self.out_of_scope, 'item')}")
        if self.left_alone:
            tell(of_another_kind(self.left_alone, self.kinds))

    def _by_force(self, counts: Counter[str]) -> dict[str, int]:
        return {name: counts[name] for name in sorted(counts, key=self.order.index)}

    def _outcomes(self) -> list[tuple[str, list[tuple[str, int]]]]:
        policies = sorted({policy for policy, _ in self.outcomes})
        return [(policy, [(one.value, self.outcomes[policy, one.value]) for one in Outcome]) for policy in policies]

    def _errors(self) -> list[tuple[tuple[str, str, str], int]]:
        return sorted(self.errors.items(), key=lambda one: (-one[1], one[0]))

    def _causes(self) -> list[tuple[tuple[str, str], Failed]]:
        return sorted(self.causes.items(), key=lambda one: (-one[1].items, one[0]))


def of_another_kind(left_alone: Sequence[str], kinds: Sequence[str]) -> str:
    """Which files of folders were not read, and which kinds would be."""
    named = with_names("file", len(left_alone), left_alone)
    return f"left alone, of another kind: {named}; read are {', '.join(kinds)}"


def with_names(noun: str, count: int, names: Sequence[str]) -> str:
    """How many there are, the first few by name."""
    more = ", …" if count > NAMED else ""
    return terminal.one_line(f"{terminal.counted(count, noun)} ({', '.join(names[:NAMED])}{more})")
