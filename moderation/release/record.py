"""The release record: which build of a policy is in which status, since when, by whom and on what evidence.

It lies beside the lock as <id>.release.json and is written by `moderation policy release` alone; the policy's content hash leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderation.decision import DRAFT, LIVE
from moderation.errors import LockError
from moderation.policy.lock import SUFFIX, Lock

SCHEMA = "release/v1"
RELEASE_SUFFIX = ".release.json"
Status = Literal["shadow", "live", "deprecated"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of status; `evidence` names each file it rests on with its SHA-256."""

    status: Status
    revision: str
    policy_hash: str
    date: str
    by: str
    reason: str
    evidence: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Record:
    """All changes of one policy's status, the first one first."""

    policy: str
    changes: tuple[Change, ...]

    def status_of(self, lock: Lock) -> str:
        """The status of this very build; a build that no change names is a draft, whatever another one may do."""
        own = [place for place, one in enumerate(self.changes) if one.revision == lock.revision]
        if not own:
            return DRAFT
        # Only one build is in force: when another one went live after it, this one is no longer.
        later = self.changes[own[-1] + 1 :]
        replaced = any(one.status == LIVE for one in later)
        return "deprecated" if self.changes[own[-1]].status == LIVE and replaced else self.changes[own[-1]].status


def record_path(lock_file: Path) -> Path:
    """Where the record of the lock at this path lies."""
    return lock_file.with_name(lock_file.name.removesuffix(SUFFIX) + RELEASE_SUFFIX)


def read_record(path: Path) -> Record | None:
    """The record at a path, None where there is none. Raises LockError that says what is wrong with one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LockError(f"release record {path}: cannot be read: {error.strerror}") from None
    try:
        found = _File.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"]) or "the file"
        raise LockError(f"release record {path}: {where}: {first['msg']}; expected one written as {SCHEMA}") from None
    return Record(found.policy, tuple(Change(**dict(one)) for one in found.changes))


def encode_record(record: Record) -> str:
    """The record as the text of its file."""
    return json.dumps({"schema": SCHEMA, **asdict(record)}, indent=1) + "\n"


def status_beside(lock: Lock, lock_file: Path) -> str:
    """The status of the lock at this path. Raises LockError for a record that is another policy's, or not sound."""
    path = record_path(lock_file)
    record = read_record(path)
    if record is None:
        return DRAFT
    if record.policy != lock.policy:
        raise LockError(f"release record {path}: is of policy {record.policy!r}; expected {lock.policy!r}")
    return record.status_of(lock)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _ChangeFile(_Model):
    status: Status
    revision: str
    policy_hash: str
    date: str
    by: str
    reason: str
    evidence: dict[str, str]


class _File(_Model):
    schema_: Annotated[Literal["release/v1"], Field(alias="schema")]
    policy: str
    changes: Annotated[list[_ChangeFile], Field(min_length=1)]


def plain(record: Record) -> dict[str, Any]:
    """The record as plain values, ready for JSON."""
    return {"schema": SCHEMA, **asdict(record)}
