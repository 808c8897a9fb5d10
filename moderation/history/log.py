"""Decisions kept as Parquet: every field, the verdicts of each build of a policy as a column of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from moderation.decision import Decision, Outcome, Verdict
from moderation.errors import DataError, Problem
from moderation.history.facts import (
    FIELDS,
    TEXTS,
    conform,
    encoded,
    fact_columns,
    filled,
    read_columns,
    read_facts,
    rows_of,
)
from moderation.history.files import open_file, parquet_files, tables, write_table
from moderation.history.items import UNKNOWN, Column, Fact, Items, column_of
from moderation.policy.columns import OUTCOMES

SCHEMA = "decisions/v1"
ROWS = 65_536  # in a row group
AT = "@"  # between a policy and its revision, in the name of their column

_KINDS = dict.fromkeys(("score", "calibrated", "threshold", "margin"), pa.float64())
_KINDS["evidence"] = pa.map_(pa.string(), pa.float64())
_KINDS["region"] = pa.list_(pa.float64())
_FIELDS = {
    one.name: _KINDS.get(one.name, pa.string()) for one in fields(Verdict) if one.name not in {"policy", "revision"}
}
_VERDICT = pa.struct(_FIELDS)
_DECISION: Mapping[str, pa.DataType] = {
    "decision_id": pa.string(),
    "action": pa.string(),
    "severity": pa.string(),
    "proposed": pa.string(),
    "encoders": TEXTS,
    "timing": pa.struct(dict.fromkeys(("decode", "encode", "detect", "read"), pa.float64())),
    "cache_hit": pa.bool_(),
    "detectors": TEXTS,
}
_READ = ("status", "outcome", "action", "score", "concept", "error")  # of a verdict, to compare it


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """One build's verdicts on n items: `there` bool [n] says on which, and the others hold nothing.

    `outcome` int64 [n] is the place among OUTCOMES; `score` float64 [n] is NaN where nothing had one.
    """

    there: NDArray[np.bool_]
    status: Column
    outcome: NDArray[np.int64]
    action: Column
    score: NDArray[np.float64]
    concept: Column
    error: Column


@dataclass(frozen=True, slots=True, eq=False)
class LogBatch:
    """n decisions as columns: what is known of the items, one policy's verdicts by revision, and the numeric class of its encoder.

    `foreign` bool [n] marks decisions that other encoders alone had a part in. `skipped` counts those that are left out, by reason.
    """

    items: Items
    verdicts: Mapping[str, Verdicts]
    numeric: Column
    foreign: NDArray[np.bool_]
    skipped: Mapping[str, int]

    def of(self, revision: str) -> Verdicts:
        """The verdicts of one revision, none at all where the file has none."""
        count = len(self.items)
        nothing = Column((), np.full(count, UNKNOWN))
        nobody = Verdicts(
            np.zeros(count, np.bool_), nothing, nothing.codes, nothing, np.full(count, np.nan), nothing, nothing
        )
        return self.verdicts.get(revision, nobody)


def write_decisions(path: Path, decisions: Sequence[Decision], facts: Sequence[Fact]) -> None:
    """One file of decisions, and beside each what is known of its item. The same decisions give the same bytes."""
    plain = [decision.to_dict() for decision in decisions]
    columns = fact_columns(facts)
    for name, kind in _DECISION.items():
        values = [list(one[name].items()) if kind == TEXTS else one[name] for one in plain]
        columns[name] = pa.array(values, kind)
    builds = sorted({(one.policy, one.revision) for decision in decisions for one in decision.verdicts})
    for policy, revision in builds:
        own = [_of(one["verdicts"], policy, revision) for one in plain]
        columns[f"{policy}{AT}{revision}"] = pa.array(own, _VERDICT)
    write_table(pa.table(columns), path, schema=SCHEMA, told={}, rows=ROWS)


def read_decisions(path: Path) -> list[tuple[Decision, Fact]]:
    """What `write_decisions` wrote, whole; a decision's verdicts come in the order of their policies. Raises DataError as `read_log` does."""
    file, _ = open_file(path, SCHEMA)
    table = file.read()
    builds = [name for name in table.column_names if AT in name]
    there = [
        name for name in _DECISION if name in table.column_names
    ]  # a field that came later is absent in older files
    columns = {name: table.column(name).to_pylist() for name in (*there, *builds)}
    decisions = []
    for row, fact in enumerate(read_facts(table)):
        verdicts = [
            dict(zip(("policy", "revision"), name.split(AT), strict=True)) | _read_verdict(columns[name][row])
            for name in builds
            if columns[name][row] is not None
        ]
        values = {name: dict(columns[name][row]) if _DECISION[name] == TEXTS else columns[name][row] for name in there}
        values |= {"item_id": fact.item, "verdicts": verdicts}
        decisions.append((Decision.from_dict(values), fact))
    return decisions


def revisions(places: Sequence[Path], policy: str) -> tuple[str, ...]:
    """The revisions of a policy of which the files hold verdicts. Raises DataError as `read_log` does."""
    found: set[str] = set()
    for path in parquet_files(places, "`moderation policy keep`"):
        file, _ = open_file(path, SCHEMA)
        found |= {name.removeprefix(policy + AT) for name in file.schema_arrow.names if name.startswith(policy + AT)}
    return tuple(sorted(found))


def read_log(places: Sequence[Path], policy: str, *, identity: str) -> Iterator[LogBatch]:
    """Every decision of every file named, and of every folder's files, as columns, with the policy's verdicts and targets.

    `identity` is that of the policy's encoder.
    Raises DataError for a folder without files, and for a file that is none of ours or damaged.
    """
    for path in parquet_files(places, "`moderation policy keep`"):
        file, _ = open_file(path, SCHEMA)
        builds = [name for name in file.schema_arrow.names if name.startswith(policy + AT)]
        wanted = [*FIELDS, "encoders", *(f"{name}.{part}" for name in builds for part in _READ)]
        for table in tables(file, path, wanted):
            yield _batch(table, builds, policy, path, identity)


def _of(verdicts: Sequence[Mapping[str, Any]], policy: str, revision: str) -> dict[str, Any] | None:
    own = [one for one in verdicts if (one["policy"], one["revision"]) == (policy, revision)]
    if not own:
        return None
    evidence = own[0]["evidence"]
    pairs = None if evidence is None else list(evidence.items())
    return {name: own[0][name] for name in _FIELDS} | {"evidence": pairs}


def _read_verdict(stored: Mapping[str, Any]) -> dict[str, Any]:
    pairs = stored.get("evidence")
    return {**stored, "evidence": None if pairs is None else dict(pairs)}


def _batch(table: pa.Table, builds: Sequence[str], policy: str, path: Path, identity: str) -> LogBatch:
    known = conform(table, {**FIELDS, "encoders": TEXTS}, path)
    named = np.asarray(pc.fill_null(pc.not_equal(known.column("item"), ""), fill_value=False))
    lost = len(table) - int(named.sum())
    if lost:
        table, known = table.filter(pa.array(named)), known.filter(pa.array(named))
    numeric, foreign = _numeric(known.column("encoders"), identity)
    return LogBatch(
        items=read_columns(known, policy),
        verdicts={name.removeprefix(policy + AT): _verdicts(table, name, path) for name in builds},
        numeric=numeric,
        foreign=foreign,
        skipped={"it has no id": lost} if lost else {},
    )


def _verdicts(table: pa.Table, name: str, path: Path) -> Verdicts:
    try:
        whole = table.column(name).combine_chunks()
        status, outcome, action, score, concept, error = (pc.struct_field(whole, one) for one in _READ)
        outcomes = encoded(outcome)
        places = [OUTCOMES.index(Outcome(one)) for one in outcomes.names]
        value = filled(score.cast(pa.float64()), np.nan)
    except (KeyError, ValueError, pa.ArrowException) as wrong:
        message = (
            f"column {name!r} holds no verdicts as `moderation policy keep` writes them: {str(wrong).splitlines()[0]}"
        )
        raise DataError([Problem(path, 0, 0, "D003", message)]) from None
    return Verdicts(
        there=np.asarray(whole.is_valid()),
        status=encoded(status),
        outcome=np.array([*places, -1], np.int64)[outcomes.codes],
        action=encoded(action),
        score=value,
        concept=encoded(concept),
        error=encoded(error),
    )


def _numeric(column: pa.ChunkedArray, identity: str) -> tuple[Column, NDArray[np.bool_]]:
    """The numeric class of the encoder of this identity in each decision, and which decisions others alone embedded."""
    maps = column.combine_chunks()
    rows, span = rows_of(maps)
    names = encoded(maps.items[span])
    own = column_of(_class_of(one or "", identity) for one in names.names)
    codes, foreign = np.full(len(maps), UNKNOWN, np.int64), np.zeros(len(maps), np.bool_)
    found = own.codes[names.codes] if len(own.codes) else np.full(len(rows), UNKNOWN)
    codes[rows[found != UNKNOWN]] = found[found != UNKNOWN]
    foreign[rows] = codes[rows] == UNKNOWN
    return Column(own.names, codes), foreign


def _class_of(names: str, identity: str) -> str | None:
    """A decision names the encoders of one modality in one text, `identity/numeric` each."""
    fingerprints = (name.partition("/") for name in names.split())
    return next((numeric for found, _, numeric in fingerprints if found == identity), None)
