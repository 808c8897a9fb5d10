"""What `moderation policy explain` does: decisions, as `scan --json` writes them, into statements of reasons."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from moderation.cli import terminal
from moderation.cli.locks import current_lock
from moderation.decision import LIVE, Decision, Verdict
from moderation.errors import DataError, LockError, Problem
from moderation.history.lines import read_lines
from moderation.policy.loader import load_policy
from moderation.release.explain import SOURCES, Statement, explain
from moderation.settings import load_settings


def statements(
    path: Path, *, decisions: Path, out: Path | None, item: str | None, given: Mapping[str, Any], as_json: bool
) -> None:
    """Tell the statement of every decision in which this policy asked for something, or of one item's."""
    _refuse_shapeless(given)
    order = load_settings().actions
    policy = load_policy(path, action_names=order)
    lock = current_lock(policy, out)
    told = seen = 0
    for line, decision in read_lines(decisions):
        if item is not None and decision.item_id != item:
            continue
        seen += 1
        for verdict in decision.verdicts:
            if verdict.policy != policy.id or not _asks(verdict, order):
                continue
            if verdict.revision != lock.revision:
                raise LockError(
                    f"{decisions}:{line}: item {decision.item_id!r} was decided under revision {verdict.revision} of policy {policy.id!r}; the lock "
                    f"at hand is revision {lock.revision}: give the one it was decided under (--out)"
                )
            _tell(decision, explain(decision, verdict, policy, given=given), as_json=as_json)
            told += 1
    if item is not None and not seen:
        raise DataError([Problem(decisions, 0, 0, "D001", f"holds no decision on item {item!r}")])
    if not told:
        whose = f"item {item!r}" if item is not None else "any item"
        terminal.note(f"policy {policy.id!r} asked for nothing on {whose} in {decisions}: there is nothing to explain")


def _refuse_shapeless(given: Mapping[str, Any]) -> None:
    """A usage error for a value that the database would not take."""
    for name, value in given.items():
        shape = _SHAPES.get(name)
        if value is not None and shape is not None and not shape[0](value):
            raise typer.BadParameter(f"--{name.replace('_', '-')}: found {value!r}; expected {shape[1]}")


def _is_day(text: str) -> bool:
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_SHAPES: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "category": (re.compile(r"STATEMENT_CATEGORY_[A-Z_]+").fullmatch, "one of the database's, STATEMENT_CATEGORY_..."),
    "source_type": (SOURCES.__contains__, f"one of {', '.join(SOURCES)}"),
    "content_date": (_is_day, "a day such as 2026-08-31"),
    "application_date": (_is_day, "a day such as 2026-08-31"),
}


def _asks(verdict: Verdict, order: Sequence[str]) -> bool:
    """Whether the verdict asked for more than the weakest action, within its limits; an item that could not be judged may be acted on too."""
    return verdict.asked is not None and verdict.asked != order[0]


def _tell(decision: Decision, statement: Statement, *, as_json: bool) -> None:
    if as_json:
        terminal.write(terminal.json_line({"item_id": decision.item_id, **statement.to_dict()}))
        return
    terminal.say(terminal.one_line(f"item {decision.item_id}, decision {decision.decision_id}"))
    if statement.preview:
        why = (
            "the item waits for a person, and nothing was done to it"
            if statement.status == LIVE
            else f"this build was no live one ({statement.status}), and nothing was asked for"
        )
        terminal.say(f"PREVIEW, not to be sent: {why}")
    terminal.say(statement.text)
    terminal.say("")
    for name, value in statement.fields.items():
        terminal.say(f"  {name}: {', '.join(value) if isinstance(value, list) else value}")
    for name, how in statement.missing.items():
        terminal.say(f"  {name}: missing; {how}")
    terminal.say("")
