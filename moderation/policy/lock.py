"""The lock: a policy's frozen build, as <id>.lock.json beside <id>.lock.safetensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from moderation.decision import Severity
from moderation.errors import LockError
from moderation.item import Modality
from moderation.meant import neighbour
from moderation.policy.calibration import Calibration, Knot, Method
from moderation.whole import written_whole

SCHEMA = "lock/v1"
SUFFIX = ".lock.json"
ARRAYS_SUFFIX = ".safetensors"
Level = Literal["L0", "L1", "L2", "L3", "L5"]


@dataclass(frozen=True, slots=True)
class LockedAction:
    """One action's promise and what became of it: a threshold with its certificate, or a shortfall.

    `threshold` cuts the policy's score, `score >= threshold`; None where nothing could be certified (or was not tried yet).
    """

    action: str
    metric: Literal["precision", "recall"]
    at_least: float
    confidence: float
    threshold: float | None = None
    certificate: Mapping[str, Any] | None = None
    shortfall: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class LockedReader:
    """A reader that a policy was certified with: its id and revision, and the most parts that it derived for the policy from one item."""

    id: str
    revision: str
    most_parts: int


@dataclass(frozen=True, slots=True)
class Quota:
    """How many items an hour may get this policy's actions; beyond it those that ask for more get `then`."""

    per_hour: int
    then: str


@dataclass(frozen=True, slots=True, eq=False)
class Lock:
    """Everything needed to decide with one policy; two locks are the same build when their `revision` is.

    `arrays` are the head's (detector/head.py reads them) and, float16, `golden` and `golden_pictures`: what the encoder made
    of each of `phrases` as it stands and of a few made pictures, so that another machine can measure how far it differs. `phrases` names the violating phrases
    in the head's order; `concepts`, at L5, the concept of every phrase, the violating ones' first; `surfaces` and `languages` narrow the scope where they are not empty;
    `detectors` are other detectors, or labels of theirs (`keywords/gambling`), that also count; `max_parts` is the largest number of an item's own parts it was certified on, 0 before certification,
    and `readers` are those that derived others for it then;
    `calibration` tells readers what a score means, None where nothing is known; `share` of the items is acted on, and no more than the `quota`.
    """

    policy: str
    version: str
    policy_hash: str
    severity: Severity
    on_error: str
    modalities: tuple[Modality, ...]
    encoder: str
    encoder_identity: str
    encoder_numeric: str
    width: int
    level: Level
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    phrases: tuple[str, ...]
    actions: tuple[LockedAction, ...]
    concepts: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    surfaces: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    max_parts: int = 0
    calibration: Calibration | None = None
    share: float = 1.0
    quota: Quota | None = None
    readers: tuple[LockedReader, ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def revision(self) -> str:
        """First 16 hex digits of the SHA-256 of the lock's JSON, which names the arrays' own SHA-256."""
        return hashlib.sha256(_encode(self)[0]).hexdigest()[:16]


def lock_path(folder: Path, policy: str) -> Path:
    """Where the lock of a policy lies in a folder."""
    return folder / f"{policy}{SUFFIX}"


def arrays_path(path: Path) -> Path:
    """Where the arrays of the lock at `path` lie: the second file of the two. Raises LockError for a name that no lock has."""
    if not path.name.endswith(SUFFIX):
        raise LockError(f"lock {path}: expected a file name ending in {SUFFIX}")
    return path.with_suffix(ARRAYS_SUFFIX)


def write_lock(lock: Lock, path: Path) -> None:
    """Writes the JSON at `path` (ending in .lock.json) and the arrays beside it, each by a rename.

    The arrays come first: a crash between the two leaves a lock that is refused, never one that decides otherwise.
    The same lock gives the same bytes. Raises LockError when the name or the place does not do.
    """
    document, arrays = _encode(lock)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for place, content in ((arrays_path(path), arrays), (path, document)):
            with written_whole(place) as beside:
                beside.write_bytes(content)
    except OSError as error:
        raise LockError(f"lock {path}: cannot be written: {error.strerror}") from None


def marks(digests: Iterable[str], clusters: Iterable[str]) -> NDArray[np.uint64]:
    """Sorted marks, uint64, of content and clusters that a classifier was made from: what may not certify it."""
    named = {*(f"digest {one}" for one in digests), *(f"cluster {one}" for one in clusters)}
    return np.array(sorted(_mark(one) for one in named), np.uint64)


def _mark(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def read_lock(path: Path) -> Lock:
    """The lock whose JSON is at `path`. Raises LockError that names the file and what was expected of it."""
    document, beside = _read(path), arrays_path(path)
    try:
        parsed = _LockFile.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(key) for key in first["loc"]) or "the file"
        raise LockError(f"lock {path}: {where}: {first['msg']}; expected a lock written as {SCHEMA}") from None
    arrays = _read(beside)
    found = hashlib.sha256(arrays).hexdigest()
    if found != parsed.arrays_sha256:
        raise LockError(f"lock {beside}: SHA-256 is {found}, but {path.name} expects {parsed.arrays_sha256}")
    try:
        loaded = safetensors.load(arrays)
    except (SafetensorError, KeyError, ValueError) as error:
        raise LockError(f"lock {beside}: not a safetensors file: {error}") from None
    values = {name: getattr(parsed, name) for name in type(parsed).model_fields}
    for name in ("schema_", "arrays_sha256", "fields_sha256"):
        values.pop(name)
    values["calibration"] = _calibration(parsed.calibration, path)
    values["quota"] = None if parsed.quota is None else Quota(**dict(parsed.quota))
    values["readers"] = tuple(LockedReader(**dict(one)) for one in parsed.readers)
    _refuse_edited(json.loads(document), path)
    return Lock(**{**values, "actions": tuple(LockedAction(**dict(one)) for one in parsed.actions), "arrays": loaded})


def _calibration(found: _CalibrationFile | None, path: Path) -> Calibration | None:
    try:
        return None if found is None else Calibration(**dict(found))
    except ValueError as error:
        raise LockError(f"lock {path}: {error}") from None


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class _ActionFile(_File):
    action: str
    metric: Literal["precision", "recall"]
    at_least: float
    confidence: float
    threshold: float | None
    certificate: dict[str, Any] | None
    shortfall: dict[str, Any] | None


class _CalibrationFile(_File):
    method: Method
    curve: tuple[float, float, float] | None
    knots: tuple[Knot, ...]


class _QuotaFile(_File):
    per_hour: Annotated[int, Field(ge=1)]
    then: str


class _ReaderFile(_File):
    id: str
    revision: str
    most_parts: Annotated[int, Field(ge=0)]


class _LockFile(_File):
    schema_: Literal["lock/v1"] = Field(alias="schema")
    arrays_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    fields_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    policy: str
    version: str
    policy_hash: str
    severity: Severity
    on_error: str
    modalities: tuple[Modality, ...]
    encoder: str
    encoder_identity: str
    encoder_numeric: str
    width: Annotated[int, Field(gt=0)]
    level: Level
    phrases: tuple[str, ...]
    actions: tuple[_ActionFile, ...]
    concepts: tuple[str, ...] = ()
    detectors: tuple[str, ...]
    surfaces: tuple[str, ...]
    languages: tuple[str, ...]
    max_parts: Annotated[int, Field(ge=0)]
    calibration: _CalibrationFile | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    quota: _QuotaFile | None = None
    readers: tuple[_ReaderFile, ...] = ()
    evidence: dict[str, Any]


def _encode(lock: Lock) -> tuple[bytes, bytes]:
    contiguous = {name: np.ascontiguousarray(array) for name, array in lock.arrays.items()}
    arrays = safetensors.save(contiguous)
    body = {one.name: _plain(getattr(lock, one.name)) for one in fields(lock) if one.name != "arrays"}
    if not lock.readers:
        del body["readers"]  # a lock of before there were readers is the same build still
    body |= {"schema": SCHEMA, "arrays_sha256": hashlib.sha256(arrays).hexdigest()}
    return _document({**body, "fields_sha256": _sum(body)}), arrays


def _document(body: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(body, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode()


def _sum(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_document(body)).hexdigest()


def _refuse_edited(body: Mapping[str, Any], path: Path) -> None:
    """A threshold that somebody wrote keeps no promise: what was built names the sum of all its other fields."""
    found = _sum({name: value for name, value in body.items() if name != "fields_sha256"})
    if found != body["fields_sha256"]:
        raise LockError(
            f"lock {path}: was edited after it was built: SHA-256 of its fields is {found}, but it names {body['fields_sha256']}; "
            "thresholds are certified, never written: compile and certify the policy again"
        )


def _plain(value: Any) -> Any:
    if isinstance(value, (LockedAction, LockedReader, Calibration, Quota)):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = "; a lock is two files, copied together" if path.name.endswith(ARRAYS_SUFFIX) else ""
        if isinstance(error, FileNotFoundError) and not hint:
            hint = neighbour(path, SUFFIX) or "; moderation policy compile FILE makes one"
        raise LockError(f"lock {path}: cannot be read: {error.strerror}{hint}") from None
