"""Lists read strictly: text lines, CSV, or JSON lines. Every bad line is located, none is quoted."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import re2

from moderation.errors import DataError, Problem
from moderation_lists.looks import is_unspaced
from moderation_lists.streams import key_of

MOST_PROBLEMS = 1000  # after so many the rest is not read: it is another kind of file
LONGEST = 200  # characters of an entry
KEYS = ("entry", "id", "score")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}")
_PATTERN = re.compile(r"/(.+)/", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a list: a word or a phrase, before which (`opens`) or behind which (`goes_on`) a word may have more letters; or a pattern."""

    list: str
    id: str
    line: int
    score: float
    text: str = ""
    opens: bool = False
    goes_on: bool = False
    pattern: str | None = None


def compile_pattern(pattern: str) -> Any:
    """A pattern of RE2's, blind to case. Raises re2.error where it is none."""
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False  # it would print the pattern
    return re2.compile(pattern, options)


def read_list(path: Path, name: str, score: float) -> list[Entry]:
    """The entries of one list, which have this score where they say none. Raises DataError with every problem, each located, none with content."""
    entries: list[Entry] = []
    problems: list[Problem] = []
    ids: dict[str, int] = {}
    for line, row in _rows(path):
        try:
            entry = _entry(row, line, name, score)
            _check_new(entry, ids)
        except _BadRowError as error:
            problems.append(Problem(path, line, 0, error.code, error.message))
            if len(problems) == MOST_PROBLEMS:
                break
            continue
        ids[entry.id] = line
        entries.append(entry)
    if not entries and not problems:
        problems.append(
            Problem(path, 0, 0, "L009", "holds no entry; an empty list would match nothing, and nobody would know")
        )
    if problems:
        raise DataError(problems)
    return entries


def _check_new(entry: Entry, ids: Mapping[str, int]) -> None:
    if entry.id in ids:
        raise _BadRowError("L006", f"has the id of line {ids[entry.id]}; expected every id once")


class _BadRowError(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Every row with its line; None where it is none at all."""
    try:
        content = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError([Problem(path, 0, 0, "L001", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError([Problem(path, line, 0, "L002", "is no UTF-8; expected a text file")]) from None
    lines = re.split(r"\r\n|\n|\r", content)
    if path.suffix.lower() == ".csv":
        yield from _columns(path, lines)
        return
    json_lines = path.suffix.lower() in {".jsonl", ".ndjson"}
    for number, line in enumerate(lines, start=1):
        if json_lines and line.strip():
            yield number, _parsed(line)
        elif line.strip() and not line.startswith("#"):
            yield number, {"entry": line.strip()}


def _parsed(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _columns(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    rows = csv.reader(f"{line}\n" for line in lines)
    names: list[str] = []
    end = 0
    try:
        for row in rows:
            line, end = end + 1, rows.line_num
            if not "".join(row).strip() or row[0].startswith("#"):
                continue
            if not names:
                names = [one.strip().lower() for one in row]
                if "entry" not in names or set(names) - set(KEYS) or len(names) != len(set(names)):
                    message = f"is no header; expected `entry`, and `id` and `score` where there are any, of {', '.join(KEYS)}"
                    raise DataError([Problem(path, line, 0, "L007", message)])
            else:
                # A quote that nobody closed swallows the lines after it.
                good = len(row) == len(names) and "\n" not in "".join(row)
                yield line, {name: one for name, one in zip(names, row, strict=True) if one.strip()} if good else None
    except csv.Error:
        yield end + 1, None


def _entry(row: Mapping[str, Any] | None, line: int, name: str, score: float) -> Entry:
    if row is None or set(row) - set(KEYS) or not isinstance(row.get("entry"), str):
        raise _BadRowError(
            "L007", f"is no entry; expected `entry`, and where it has them `id` and `score`, of {', '.join(KEYS)}"
        )
    known = Entry(name, _id(row.get("id", f"line-{line}")), line, _score(row.get("score", score)))
    text = row["entry"].strip()
    pattern = _PATTERN.fullmatch(text)
    return _pattern(known, pattern[1]) if pattern else _words(known, text)


def _id(value: Any) -> str:
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _BadRowError(
            "L006",
            "has an id that is none; expected at most 64 letters, digits and . _ : / - of ASCII, for it stands in decisions",
        )
    return value


def _score(value: Any) -> float:
    try:
        score = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        score = -1.0
    if not 0.0 <= score <= 1.0:
        raise _BadRowError("L005", "has a score that is none; expected a number from 0 to 1")
    return score


def _pattern(known: Entry, pattern: str) -> Entry:
    """Patterns are RE2's, whose time grows with the text alone: what would need more, it does not have."""
    try:
        compiled = compile_pattern(pattern)
    except re2.error as error:
        told = error.args[0] if error.args else ""
        told = told.decode(errors="replace") if isinstance(told, bytes) else str(told)
        raise _BadRowError("L004", f"is no pattern of RE2's: {told.split(':')[0]}") from None
    if compiled.search(b""):
        raise _BadRowError("L004", "is a pattern that matches every text")
    return Entry(known.list, known.id, known.line, known.score, pattern=pattern)


def _words(known: Entry, text: str) -> Entry:
    opens, goes_on = text.startswith("*"), text.endswith("*")
    text = text.removeprefix("*").removesuffix("*").strip()
    key = key_of(text)
    if not key:
        raise _BadRowError("L003", "has no letter and no digit")
    if len(text) > LONGEST:
        raise _BadRowError("L003", f"has more than {LONGEST} characters")
    if (opens or goes_on) and len(key) == 1 and not is_unspaced(key):
        raise _BadRowError("L003", "is one letter and a `*`; it would be found in nearly every text")
    return Entry(known.list, known.id, known.line, known.score, text, opens, goes_on)
