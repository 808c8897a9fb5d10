"""What lines of JSON say of items beside their content: target, cluster, weight, time and attributes; every wrong line located."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moderation.errors import DataError, ItemError, Problem
from moderation.history.items import Fact, Target
from moderation.source.entry import Entry
from moderation.source.find import find


def fact_of(entry: Entry, policy: str | None) -> Fact:
    """What an entry's line says; its target is that under `policy`, and left out where that is None. Raises DataError at the line."""
    try:
        return Fact(
            item=entry.id,
            cluster=_text(entry.row, "cluster"),
            time=_time(entry.row.get("time")),
            attributes=_attributes(entry.row.get("attributes", {})),
            targets=_targets(entry.row, policy),
        )
    except ValueError as error:
        raise DataError([Problem(entry.file, entry.line, 1, "D003", str(error))]) from None


def read_facts(path: Path, policy: str | None, *, max_bytes: int) -> dict[str, Fact]:
    """The facts of every line of a file, by item id as `moderation scan` gives ids. Raises DataError with every wrong line."""
    facts: dict[str, Fact] = {}
    problems: list[Problem] = []
    for entry in find([path], max_bytes=max_bytes).entries:
        try:
            fact = fact_of(entry if entry.row else _refused(entry), policy)
        except DataError as error:
            problems += error.problems
            continue
        if facts.setdefault(fact.item, fact) != fact:
            problems.append(
                Problem(entry.file, entry.line, 1, "D004", f"item {fact.item!r} is written twice, with other facts")
            )
    if problems:
        raise DataError(problems)
    return facts


def _refused(entry: Entry) -> Entry:
    """Raises DataError for an entry that is no line of JSON, or of none that can be understood."""
    try:
        entry.read()
    except ItemError as error:
        raise DataError([Problem(entry.file, entry.line, 1, "D003", str(error))]) from None
    raise DataError([Problem(Path(entry.id), 0, 0, "D003", "expected JSON lines, one item each")])


def _text(row: Mapping[str, Any], name: str) -> str:
    found = row.get(name, "")
    if not isinstance(found, str):
        raise ValueError(f"{name}: found {found!r}; expected a text")  # noqa: TRY004 - a value of the file, located by its line
    return found


def _time(found: Any) -> dt.datetime | None:
    if found is None:
        return None
    try:
        time = dt.datetime.fromisoformat(found)
        in_utc = time.astimezone(dt.UTC) if time.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        in_utc = None
    if in_utc is None:
        raise ValueError(f"time: found {found!r}; expected a time with its zone, such as 2026-08-31T12:00:00Z")
    return in_utc


def _attributes(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("attributes: expected an object of texts")
    return dict(found)


def _targets(row: Mapping[str, Any], policy: str | None) -> dict[str, Target]:
    target, weight = row.get("target"), row.get("weight")
    if target is not None and not isinstance(target, bool):
        raise ValueError(f"target: found {target!r}; expected true or false")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if weight is not None and not (number and 0 < weight <= sys.float_info.max):
        raise ValueError(f"weight: found {weight!r}; expected how many items this one stands for, a number above 0")
    if weight is not None and target is None:
        raise ValueError("weight: there is no target that it could weigh")
    return (
        {} if target is None or policy is None else {policy: Target(target, None if weight is None else float(weight))}
    )
