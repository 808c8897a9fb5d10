"""What a run leaves in its folder: one Parquet file of decisions for each portion, and beside them what the run was begun on.

A file takes its place whole, by a rename; so a run that was killed goes on with the portions that have none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from moderation import __version__
from moderation.decision import Decision
from moderation.errors import DataError, Problem
from moderation.history.files import refuse_kept
from moderation.history.items import Fact
from moderation.history.log import read_decisions, write_decisions
from moderation.policy.lock import read_lock
from moderation.release.record import status_beside
from moderation.settings import Settings
from moderation.source.portions import Portion, digest_of
from moderation.whole import written_whole

SCHEMA = "scan-run/v1"
_BEGUN, _WORK, _NOTES = "run.json", ".work", ".notes"
_DECIDING = {
    "actions",
    "encoders",
    "images",
    "readers",
    "heads",
    "plugins",
    "quota",
}  # settings that a decision depends on


@dataclass(frozen=True, slots=True)
class Run:
    """What decides what: the portions of an input, under locks, by settings."""

    portions: Sequence[Portion]
    locks: Sequence[Path]
    settings: Settings

    def to_dict(self) -> dict[str, Any]:
        """What must be the same when it goes on; of settings, which may hold secrets, a digest."""
        chosen = self.settings.model_dump(mode="json", include=_DECIDING)
        read = [(read_lock(one), one) for one in self.locks]
        return {
            "schema": SCHEMA,
            "version": __version__,
            "items": sum(one.count for one in self.portions),
            "portions": len(self.portions),
            "input": digest_of(self.portions),
            "policies": {lock.policy: f"{lock.revision} {status_beside(lock, path)}" for lock, path in read},
            "settings": hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest(),
        }


def begin(folder: Path, run: Run) -> list[Portion]:
    """Begin a run in a folder, or go on with it: the portions that are not decided yet.

    Raises DataError where the folder holds Parquet files of something else, or a run that was begun on other input, policies or settings.
    """
    begun, told = folder / _BEGUN, run.to_dict()
    if begun.exists():
        _same(begun, told)
    else:
        refuse_kept(folder)
        put_note(begun, json.dumps(told, indent=2) + "\n")
    for one in (folder / _WORK).glob(f"*{_NOTES}"):
        one.unlink(missing_ok=True)
    return [one for one in run.portions if not _is_whole(part_path(folder, one.number), one.count)]


def notes_path(folder: Path, number: int) -> Path:
    """The file of what is found out about a portion that kills workers, since the run was begun or went on."""
    return folder / _WORK / f"{number:06}{_NOTES}"


def put_note(path: Path, text: str) -> None:
    """Write a small file of a run, in its place at once. Raises DataError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as beside:
            beside.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritten(path, error) from None


def end(folder: Path) -> None:
    """What workers that died left half done is cleared away."""
    shutil.rmtree(folder / _WORK, ignore_errors=True)


def part_path(folder: Path, number: int) -> Path:
    """The file of a portion's decisions."""
    return folder / f"decisions-{number:06}.parquet"


def write_part(folder: Path, number: int, decisions: Sequence[Decision]) -> None:
    """A portion's decisions, in their place at once: whoever else decides the same portion writes beside it, and one of them comes last.

    Raises DataError where they cannot be written.
    """
    half = folder / _WORK / f"{number:06}-{uuid4().hex}.parquet"
    write_decisions(half, decisions, [Fact(one.item_id) for one in decisions])
    try:
        half.replace(part_path(folder, number))
    except OSError as error:
        raise _unwritten(half, error) from None


def read_part(folder: Path, number: int) -> list[Decision]:
    """A portion's decisions, in the order of its entries."""
    return [decision for decision, _ in read_decisions(part_path(folder, number))]


def _is_whole(path: Path, rows: int) -> bool:
    """Whether a file can be opened and has a row for each entry: what a machine that lost its power left need not be."""
    try:
        return int(pq.read_metadata(path).num_rows) == rows
    except (OSError, pa.ArrowException):
        return False


def _same(begun: Path, told: Mapping[str, Any]) -> None:
    try:
        found = json.loads(begun.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError([Problem(begun, 0, 0, "D001", f"cannot be read: {type(error).__name__}")]) from None
    other = [key for key in told if not isinstance(found, dict) or found.get(key) != told[key]]
    if other:
        named = ", ".join(other)
        message = (
            f"the run in this folder was begun with something else ({named}); expected the same, or a folder of its own"
        )
        raise DataError([Problem(begun, 0, 0, "D003", message)])


def _unwritten(path: Path, error: OSError) -> DataError:
    return DataError([Problem(path, 0, 0, "D000", f"cannot be written: {error.strerror}")])
