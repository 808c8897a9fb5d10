"""Data manifests: JSON lines that name items, their targets and their clusters; every wrong line is located."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import JSONDecodeError
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from moderation.errors import DataError, Problem
from moderation.item import ContentItem, Modality, Part, content_digest
from moderation.policy.content import Content
from moderation.policy.explain import explain
from moderation.policy.json_source import read_json
from moderation.policy.manifest_row import ManifestPart, ManifestRow
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
    author). The content is `text`, or the file `path`, or the several `parts` of one item, whose `sha256` is that of their digests.
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
    parts: tuple[Content, ...] = ()

    @property
    def contents(self) -> tuple[Content, ...]:
        """All parts of the item; of most rows there is one."""
        return self.parts or (Content(self.path, self.text, self.sha256),)

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that the row names."""
        return tuple(one.path for one in self.contents if one.path)

    @property
    def digests(self) -> tuple[str, ...]:
        """Every digest by which the item, or a part of it, may be known."""
        return tuple(dict.fromkeys((self.sha256, *(one.sha256 for one in self.contents))))

    @property
    def what(self) -> str:
        """The content in a few words, for messages; texts are not quoted."""
        return f"an item of {len(self.parts)} parts" if self.parts else str(self.path or "the text")

    @property
    def modality(self) -> Modality:
        """Text where the row holds a text or names a .txt file, image otherwise; of several parts, that of the first."""
        return self.contents[0].modality

    def read(self) -> Part:
        """The content as a part; raises DataError as `item` does, and where there are several parts."""
        if self.parts:
            message = f"{self.what}: expected one part; only whole items to certify or audit on may have several"
            raise DataError([self.problem("D003", message)])
        return self.item().parts[0]

    def item(self) -> ContentItem:
        """The whole item, its id the digest; raises DataError for every file that is gone or is not what the manifest says."""
        parts: list[Part] = []
        problems: list[Problem] = []
        for one in self.contents:
            try:
                parts.append(one.read())
            except OSError as error:
                problems.append(self.problem("D005", f"{one.path} cannot be read: {error.strerror}"))
            except ValueError as error:
                problems.append(self.problem("D006", str(error)))
        if problems:
            raise DataError(problems)
        return ContentItem(self.sha256, tuple(parts), self.attributes)

    def problem(self, code: str, message: str) -> Problem:
        """A problem at this row's line."""
        return Problem(self.manifest, self.line, 1, code, message)


def load_manifest(path: Path, *, check_files: bool = True) -> tuple[TargetRow, ...]:
    """The rows of a manifest, in order; with `check_files`, every file must exist (digests are checked when read).

    Raises DataError with every problem: lines that are no JSON, wrong keys and values, items written twice.
    """
    rows, problems = read_manifest(path)
    if check_files:
        problems += [
            row.problem("D005", f"{file} is not a file") for row in rows for file in row.files if not is_file(file)
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
    """What the manifests of one policy share, each located in the later one; none where they are disjoint in pairs."""
    return [one for first, second in itertools.combinations(manifests, 2) for one in disjoint(first, second)]


def disjoint(first: Sequence[TargetRow], second: Sequence[TargetRow]) -> list[Problem]:
    """One problem for each row of `second` of which a content or the cluster is in `first` too, located in `second`."""
    digests = {digest: row for row in first for digest in row.digests}
    clusters = {row.cluster: row for row in first}
    problems = []
    for row in second:
        same = next((digests[digest] for digest in row.digests if digest in digests), None)
        what = (
            "content" if same is None or same.cluster == row.cluster else f"content (there of cluster {same.cluster!r})"
        )
        if same is None:
            same, what = clusters.get(row.cluster), f"cluster {row.cluster!r}"
        if same is not None:
            where = f"{same.manifest}:{same.line}"
            problems.append(row.problem("D007", f"{what} is also in {where}; expected manifests that share nothing"))
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
        values = read_json(line)
        if isinstance(values, dict):
            return values, None
        code, message = "D003", "expected one JSON object a line"
    except JSONDecodeError as error:
        column, message = error.colno, f"not JSON: {error.msg}"
    except UnicodeDecodeError as error:
        column, message = error.start + 1, f"byte 0x{line[error.start]:02x} is not UTF-8"
    except ValueError as error:
        message = f"not a row: {error}"
    return {}, Problem(path, number, column, code, message)


def _target(row: ManifestRow, path: Path, number: int) -> tuple[TargetRow | None, list[Problem]]:
    values = row.model_dump(include={"target", "cluster", "attributes", "source", "licence"})
    try:
        parts = _parts(row, path.parent) if row.parts else ()
        one = Content(None, None, _digest(row, parts)) if parts else _content(row, path.parent)
    except ValueError as error:
        return None, [Problem(path, number, 1, "D003", str(error))]
    return TargetRow(one.path, one.text, one.sha256, manifest=path, line=number, parts=parts, **values), []


def _parts(row: ManifestRow, folder: Path) -> tuple[Content, ...]:
    if len(row.parts) < 2 or row.path is not None or row.text is not None:
        raise ValueError("parts: expected two or more, and neither path nor text beside them")
    found = []
    for number, part in enumerate(row.parts, start=1):
        try:
            found.append(_content(part, folder))
        except ValueError as error:
            raise ValueError(f"parts.{number}: {error}") from None
    return tuple(found)


def _digest(row: ManifestRow, parts: Sequence[Content]) -> str:
    """The digest of an item of several parts: that of their digests, a line each."""
    digest = content_digest("\n".join(one.sha256 for one in parts).encode())
    if row.sha256 not in (None, digest):
        raise ValueError(f"sha256: the parts have {digest}")
    return digest


def _content(row: ManifestRow | ManifestPart, folder: Path) -> Content:
    """Raises ValueError that says what is wrong with the row."""
    if (row.path is None) == (row.text is None):
        raise ValueError("expected either path or text")
    if row.text is not None:
        digest = content_digest(row.text.encode("utf-8"))
        if row.sha256 not in (None, digest):
            raise ValueError(f"sha256: the text has {digest}")
        return Content(None, row.text, digest)
    file = join_path(row.path or "", folder)
    if file is None:
        raise ValueError(f"path: found {row.path!r}; expected a path relative to the manifest, with forward slashes")
    if row.sha256 is None:
        raise ValueError(f"sha256: is missing; a file needs its digest: sha256sum {file} prints it")
    return Content(file, None, row.sha256)


def _twice(rows: Sequence[TargetRow]) -> Iterator[Problem]:
    first: dict[str, TargetRow] = {}
    for row in rows:
        before = first.setdefault(row.sha256, row)
        if before is not row:
            differs = "" if before.target == row.target else ", with another target"
            yield row.problem("D004", f"the same content is at line {before.line}{differs}")


def _node(values: dict[str, Any], path: Path, number: int) -> Node:
    at = Node(None, path, number, 1)
    return Node({key: Entry(at, at) for key in values}, path, number, 1)


def _renamed(problem: Problem) -> Problem:
    return Problem(problem.path, problem.line, problem.column, "D003", problem.message)
