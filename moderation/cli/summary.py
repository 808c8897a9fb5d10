"""What a scan came to, counted decision by decision and told in a few small tables."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from moderation.cli import terminal
from moderation.decision import Decision, Outcome

# So many files that were left alone are named.
NAMED = 3


@dataclass(slots=True)
class Summary:
    """What a scan came to: counts by action, by policy and outcome, and by reason of an error."""

    left_alone: Sequence[str] = ()
    items: int = 0
    hits: int = 0
    out_of_scope: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    errors: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    started: float = field(default_factory=time.perf_counter)

    def add(self, decision: Decision) -> None:
        """Count one decision."""
        self.items += 1
        self.hits += decision.cache_hit
        self.out_of_scope += not decision.verdicts
        self.actions[decision.action] += 1
        for verdict in decision.verdicts:
            self.outcomes[verdict.policy, verdict.outcome.value] += 1
            if verdict.error:
                self.errors[verdict.policy, verdict.error, verdict.cause or ""] += 1

    def print(self, *, to_stderr: bool) -> None:
        """The summary for people."""
        tell = terminal.note if to_stderr else terminal.say
        seconds = time.perf_counter() - self.started
        rate = self.items / seconds if seconds else 0.0
        tell(
            f"{terminal.counted(self.items, 'item')} in {seconds:.1f} s ({rate:.1f} items/s), {self.hits} from the cache"
        )
        terminal.table(["action", "items"], self.actions.most_common(), to_stderr=to_stderr)
        outcomes = [outcome.value for outcome in Outcome]
        policies = sorted({policy for policy, _ in self.outcomes})
        rows = [[policy, *(self.outcomes[policy, outcome] for outcome in outcomes)] for policy in policies]
        terminal.table(["policy", *outcomes], rows, to_stderr=to_stderr)
        if self.errors:
            errors = sorted(self.errors.items(), key=lambda one: (-one[1], one[0]))
            rows = [[*named, count] for named, count in errors]
            terminal.table(["policy", "error", "cause", "items"], rows, to_stderr=to_stderr)
        if self.out_of_scope:
            tell(f"not judged, in no policy's scope: {terminal.counted(self.out_of_scope, 'item')}")
        if self.left_alone:
            named = ", ".join(self.left_alone[:NAMED]) + (", …" if len(self.left_alone) > NAMED else "")
            tell(f"left alone, of another kind: {terminal.counted(len(self.left_alone), 'file')} ({named})")
