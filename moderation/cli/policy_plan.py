"""What `moderation policy plan` tells: how many judged objects each guarantee takes, before anyone judges one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from moderation.cli import terminal
from moderation.compiler.plan import MOST, Case, Plan, enough, plan
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.settings import load_settings

HEAD = ("flags of violating", "and of benign", "takes violating", "and benign", "at hand")


@dataclass(frozen=True, slots=True)
class AtHand:
    """The objects (clusters) of a policy's certify manifest."""

    violating: int
    benign: int


def tell(path: Path, *, as_json: bool) -> None:
    """Tell what one policy's promises take, and how far its certify manifest goes."""
    policy = load_policy(path, action_names=load_settings().actions)
    plans, held = plan(policy.actions, policy.prevalence), at_hand(policy)
    if as_json:
        terminal.emit(
            {
                "schema": "policy-plan/v1",
                "policy": policy.id,
                "version": policy.version,
                "prevalence": {"low": policy.prevalence.low, "high": policy.prevalence.high},
                "at_hand": None if held is None else asdict(held),
                "actions": [asdict(one) for one in plans],
            }
        )
        return
    for line in _lines(policy, plans, held):
        terminal.say(line)


def at_hand(policy: Policy) -> AtHand | None:
    """What the policy's certify manifest holds; None without one. Raises DataError where it is not sound."""
    if policy.data.certify is None:
        return None
    rows = load_manifest(policy.data.certify, check_files=False)
    return AtHand(*(len({row.cluster for row in rows if row.target is side}) for side in (True, False)))


def _lines(policy: Policy, plans: tuple[Plan, ...], held: AtHand | None) -> Iterator[str]:
    yield (
        f"{policy.id} {policy.version}: judged objects that its promises take, at a prevalence of "
        f"{policy.prevalence.low:g} to {policy.prevalence.high:g} (ten pictures of one object count once)"
    )
    if held is None:
        yield "  at hand: nothing, the policy names no certify manifest"
    else:
        yield f"  at hand: {held.violating} violating and {held.benign} benign objects to certify on"
    for one in plans:
        budget = "" if one.budget is None else f", at most {one.budget:.2%} of traffic"
        yield f"  {one.action}: {one.metric} at least {one.at_least:g}, confidence {one.confidence:g}{budget}"
        yield f"    {_limit(one)}"
        if one.cases:
            yield from (f"    {line}" for line in _table([_row(case, held) for case in one.cases]))


def _limit(one: Plan) -> str:
    """How good the classifier has to be, whatever the number of targets."""
    if one.largest_fpr <= 0.0:
        return "no number of targets will do: the prevalence alone breaks it"
    if not one.cases:
        return f"not even {MOST:,} targets would show it"
    if one.largest_fpr >= 1.0:
        return (
            "nothing is asked of benign objects: without a budget, a threshold that flags everything keeps this promise"
        )
    return f"the classifier may flag at most {_rate(one.largest_fpr)} of benign objects, however many are judged"


def _rate(share: float) -> str:
    return f"{share:.2%}" if share >= 0.01 else f"1 in {1 / share:,.0f}"


def _row(case: Case, held: AtHand | None) -> tuple[str, ...]:
    flagged = "none" if case.fpr == 0.0 else _rate(case.fpr)
    verdict = "" if held is None else "enough" if enough(case, held.violating, held.benign) else _lacking(case, held)
    return f"{case.tpr:.0%}", flagged, f"{case.violating:,}", f"{case.benign:,}", verdict


def _lacking(case: Case, held: AtHand) -> str:
    more = {"violating": case.violating - held.violating, "benign": case.benign - held.benign}
    return " and ".join(f"{count:,} more {side}" for side, count in more.items() if count > 0)


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    lines = [HEAD, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
    for line in lines:
        told = [cell.rjust(width) for cell, width in zip(line[:-1], widths, strict=False)]
        yield "  ".join([*told, line[-1]]).rstrip()
