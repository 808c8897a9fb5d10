"""Data manifests: JSON lines that name items, their targets and their clusters; every wrong line is located."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import Field, ValidationError

from moderation.errors import DataError, Problem
from moderation.item import Modality, Part, content_digest, modality_of
from moderation.policy.explain import explain
from moderation.policy.fields import Section
from moderation.policy.paths import is_file, join_path
from moderation.policy.yaml_source import Entry, Node

MAX_LINE_BYTES = 1_000_000
_WRONG_SIDE = {
    True: "target: found true among the contrast exemplars; expected false",
    False: "target: found false among the violating exemplars; expected true",
}


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One item and its target, from one line of a manifest.

    `target` is true where the item breaks the policy; `cluster` names what makes items dependent (an object, an
    author). The content is `text`, or the file `path`, read only by `read`.
    """

    path: Path | None
    text: str | None
    sha256: str
    target: bool
    cluster: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    manifest: Path = Path()
    line: int = 0

    @property
    def modality(self) -> Modality:
        """Text where the row holds a text or names a .txt file, image otherwise."""
        return Modality.TEXT if self.path is None else modality_of(self.path)

    def read(self) -> Part:
        """The content as a part; raises DataError where the file is gone or is not what the manifest says."""
        if self.path is None:
            return Part.text(self.text or "")
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError([self.problem("D005", f"{self.path} cannot be read: {error.strerror}")]) from None
        digest = content_digest(content)
        if digest != self.sha256:
            message = f"{self.path} has sha256 {digest}; the manifest says {self.sha256}"
            raise DataError([self.problem("D006", message)])
        return Part.from_file(self.path, content, name=self.path.name)

    def problem(self, code: str, message: str) -> Problem:
        """A problem at this row's line."""
        return Problem(self.manifest, self.line, 1, code, message)


class ManifestRow(Section):
    """One line of a manifest."""

    path: Annotated[
        str | None, Field(description="A file, relative to the manifest; .txt is text, else a picture.")
    ] = None
    text: Annotated[str | None, Field(min_length=1, description="The text itself, instead of a file.")] = None
    sha256: Annotated[
        str | None, Field(pattern=r"^[0-9a-f]{64}$", description="Digest of the content; needed with `path`.")
    ] = None
    target: Annotated[bool, Field(description="True where the item breaks the policy.")]
    cluster: Annotated[str, Field(min_length=1, max_length=200, description="What makes items dependent.")]
    attributes: Annotated[dict[str, str], Field(default_factory=dict, description="For audits and slices.")]
    source: Annotated[str, Field(description="Where the item comes from.")] = ""
    licence: Annotated[str, Field(description="On what terms it is used.")] = ""


def load_manifest(path: Path, *, check_files: bool = True) -> tuple[TargetRow, ...]:
    """The rows of a manifest, in order; with `check_files`, every file must exist (digests are checked when read).

    Raises DataError with every problem: lines that are no JSON, wrong keys and values, items written twice.
    """
    rows, problems = read_manifest(path)
    if check_files:
        problems += [
            row.problem("D005", f"{row.path} is not a file") for row in rows if row.path and not is_file(row.path)
        ]
    if problems:
        raise DataError(problems)
    return rows


def load_exemplars(violating: Path | None, contrast: Path | None, *, check_files: bool = True) -> tuple[TargetRow, ...]:
    """The rows of a policy's manifests of exemplars. Raises DataError where a row's target is not that of its manifest."""
    rows: list[TargetRow] = []
    for path in (violating, contrast):
        rows += load_manifest(path, check_files=check_files) if path else ()
    wrong = [row for row in rows if row.target != (row.manifest == violating)]
    if wrong:
        raise DataError(row.problem("D003", _WRONG_SIDE[row.target]) for row in wrong)
    return tuple(rows)


def read_manifest(path: Path) -> tuple[tuple[TargetRow, ...], list[Problem]]:
    """The rows that can be understood, and what is wrong with the others or between two; no row's file is looked at."""
    path = Path(path)
    rows: list[TargetRow] = []
    problems: list[Problem] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(bounded_lines(file), start=1):
                if line is None:
                    problems.append(
                        Problem(path, number, 1, "D002", f"the line is longer than {MAX_LINE_BYTES:,} bytes")
                    )
                elif line.strip():
                    row, found = _row(line, path, number)
                    problems += found
                    rows += [row] if row else []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        return (), [Problem(path, 0, 0, "D001", f"cannot be read: {reason}")]
    problems += _twice(rows)
    if not rows and not problems:
        problems.append(Problem(path, 0, 0, "D001", "the manifest holds no rows"))
    return tuple(rows), problems


def bounded_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Every line, None for one of over MAX_LINE_BYTES: such a line is passed over in pieces and never held whole."""
    while line := stream.readline(MAX_LINE_BYTES + 1):
        fits = len(line) <= MAX_LINE_BYTES
        while not line.endswith(b"\n") and not fits and (line := stream.readline(MAX_LINE_BYTES)):
            pass
        yield line if fits else None


def shared(manifests: Sequence[Sequence[TargetRow]]) -> list[Problem]:
    """What the manifests of one policy share, in the order exemplars, fit, certify, audit; none where they are disjoint in pairs."""
    return [one for first, second in itertools.combinations(manifests, 2) for one in disjoint(first, second)]


def disjoint(first: Sequence[TargetRow], second: Sequence[TargetRow]) -> list[Problem]:
    """One problem for each row of `second` whose content or cluster is in `first` too, located in `second`."""
    digests = {row.sha256: row for row in first}
    clusters = {row.cluster: row for row in first}
    problems = []
    for row in second:
        same = digests.get(row.sha256)
        what = (
            "content" if same is None or same.cluster == row.cluster else f"content (there of cluster {same.cluster!r})"
        )
        if same is None:
            same, what = clusters.get(row.cluster), f"cluster {row.cluster!r}"
        if same is not None:
            where = f"{same.manifest}:{same.line}"
            problems.append(row.problem("D007", f"{what} is also in {where}; what is fitted on cannot certify"))
    return problems


def _row(line: bytes, path: Path, number: int) -> tuple[TargetRow | None, list[Problem]]:
    values, problem = _json_object(line, path, number)
    if problem:
        return None, [problem]
    try:
        row = ManifestRow.model_validate(values)
    except ValidationError as error:
        return None, [_renamed(problem) for problem in explain(error, _node(values, path, number), ManifestRow)]
    return _target(row, path, number)


def _json_object(line: bytes, path: Path, number: int) -> tuple[dict[str, Any], Problem | None]:
    column, code = 1, "D002"
    try:
        values = json.loads(line.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_no_constant)
        if isinstance(values, dict):
            return values, None
        code, message = "D003", "expected one JSON object a line"
    except json.JSONDecodeError as error:
        column, message = error.colno, f"not JSON: {error.msg}"
    except UnicodeDecodeError as error:
        column, message = error.start + 1, f"byte 0x{line[error.start]:02x} is not UTF-8"
    except (ValueError, RecursionError) as error:
        message = f"not a row: {error}"
    return {}, Problem(path, number, column, code, message)


def _target(row: ManifestRow, path: Path, number: int) -> tuple[TargetRow | None, list[Problem]]:
    content, digest = row.text, row.sha256
    file = join_path(row.path, path.parent) if row.path is not None else None
    message = None
    if (row.path is None) == (content is None):
        message = "expected either path or text"
    elif content is not None:
        digest = content_digest(content.encode("utf-8"))
        if row.sha256 not in (None, digest):
            message = f"sha256: the text has {digest}"
    elif file is None:
        message = f"path: found {row.path!r}; expected a path relative to the manifest, with forward slashes"
    elif digest is None:
        message = "sha256: is missing; a file needs its digest"
    if message or digest is None:
        return None, [Problem(path, number, 1, "D003", message or "")]
    values = row.model_dump(include={"target", "cluster", "attributes", "source", "licence"})
    return TargetRow(file, content, digest, manifest=path, line=number, **values), []


def _twice(rows: Sequence[TargetRow]) -> Iterator[Problem]:
    first: dict[str, TargetRow] = {}
    for row in rows:
        before = first.setdefault(row.sha256, row)
        if before is not row:
            differs = "" if before.target == row.target else ", with another target"
            yield row.problem("D004", f"the same content is at line {before.line}{differs}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is written twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _node(values: dict[str, Any], path: Path, number: int) -> Node:
    at = Node(None, path, number, 1)
    return Node({key: Entry(at, at) for key in values}, path, number, 1)


def _renamed(problem: Problem) -> Problem:
    return Problem(problem.path, problem.line, problem.column, "D003", problem.message)
