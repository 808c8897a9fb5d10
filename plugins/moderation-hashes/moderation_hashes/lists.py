"""Lists of known-bad hashes as ThreatExchange's tools write them, read strictly: every bad line is located, none is quoted.

Read are CSV (`type,value[,tags]`, or with a header as `threatexchange dataset --csv` writes it), pytx's plain `pdq HASH` lines, bare hashes,
and JSON: a list, `{"data": […]}` or one object a line, of ThreatExchange's descriptors or HMA's bank content.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderation.detector.names import is_label
from moderation.errors import DataError, Problem
from moderation_hashes.pdq import BYTES

MOST_PROBLEMS = 1000  # after so many the rest is not read: it is another kind of file

_PDQ = frozenset({"pdq", "hash_pdq"})
# Other kinds of signals have one of these words in their name (HASH_MD5, video_md5, trend_query): they are passed over. A kind that has none
# may be a slip of the pen for pdq, and what it stands for would never be found.
_OTHER_WORDS = frozenset(
    [
        *("md5", "sha1", "sha256", "sha512", "ssdeep", "imphash", "tlsh", "tmk", "vpdq", "ocr", "clip", "photodna"),
        *("text", "string", "query", "url", "uri", "domain", "ip", "email", "file"),
    ]
)
_KINDS = ("signal_type", "indicator_type", "type")
_VALUES = ("signal_str", "raw_indicator", "indicator", "value", "hash")
_HARMLESS_OPINIONS = frozenset({"NON_MALICIOUS", "NEGATIVE_CLASS"})
_HARMLESS = "harmless"  # in place of the kind, where its owner says that it is not bad
_Found = tuple[int, str, str]  # a line, the kind of its signal, the signal; the kind is "" where the line is none


@dataclass(frozen=True, slots=True)
class HashList:
    """One list: its name, its hashes uint8 [n, 32] in order and each once, the SHA-256 of its file, and what was passed over, by why."""

    name: str
    hashes: NDArray[np.uint8]
    digest: str
    passed_over: Mapping[str, int] = field(default_factory=dict)


def read_list(path: Path, name: str) -> HashList:
    """Read one list under this name. Raises DataError with every problem, each located; the content of a line is in none of them."""
    if not is_label(name):
        raise _refused(path, "H001", f"found the name {name!r}; expected lower-case words and dashes, as labels are")
    digest = _digest(path)
    bits, problems, passed_over = bytearray(), list[Problem](), Counter[str]()
    for line, kind, value in _signals(path):
        if kind.lower() in _PDQ and (found := _bits(value)):
            bits += found
        elif other := _HARMLESS if kind == _HARMLESS else _other(kind):
            passed_over[other] += 1
        else:
            problems.append(Problem(path, line, 0, "H003", _expected(kind, value)))
            if len(problems) == MOST_PROBLEMS:
                break
    if problems:
        raise DataError(problems)
    if not bits:
        raise _refused(path, "H004", "holds no PDQ hash; an empty list would match nothing, and nobody would know")
    return HashList(name, _ordered(bits), digest, dict(passed_over))


def _other(kind: str) -> str:
    """Which word of ours makes this a signal of another kind, "" where none does; nothing else of the kind is kept, for it may be content."""
    return min(_OTHER_WORDS & set(kind.lower().split("_")), default="")


def _digest(path: Path) -> str:
    """The SHA-256 of a file that is UTF-8 throughout; read line by line, for lists are long."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                if not _is_text(line):
                    raise _refused(path, "H002", "is no UTF-8; expected a text file", line=number)
    except OSError as error:
        raise _refused(path, "H001", f"cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _refused(path: Path, code: str, message: str, *, line: int = 0) -> DataError:
    return DataError([Problem(path, line, 0, code, message)])


def _bits(value: str) -> bytes | None:
    try:
        bits = bytes.fromhex(value) if len(value) == 2 * BYTES else b""
    except ValueError:
        return None
    return bits if len(bits) == BYTES else None


def _expected(kind: str, value: str) -> str:
    if kind.lower() not in _PDQ:
        return "is no signal of a known type; expected `pdq,HASH`, `pdq HASH`, a hash, or a JSON object with a type and a value"
    found = f"{len(value)} characters" if len(value) != 2 * BYTES else "other characters"
    return f"found {found} in place of a PDQ hash; expected {2 * BYTES} hexadecimal digits"


def _ordered(bits: bytearray) -> NDArray[np.uint8]:
    """The hashes in order, each once."""
    words = np.frombuffer(bits, dtype=">u8").reshape(-1, BYTES // 8).astype(np.uint64)
    words = words[np.lexsort(words.T[::-1])]
    new = np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)])
    return words[new].astype(">u8").view(np.uint8)


def _signals(path: Path) -> Iterator[_Found]:
    """Every line's signal; of a JSON document, which is not told by lines, the number of the record."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() in {".jsonl", ".ndjson"}:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield from _of_record(number, _parsed(line))
        elif path.suffix.lower() == ".json":
            document = _parsed(file.read())
            records = document.get("data", [document]) if isinstance(document, dict) else document
            for number, record in enumerate(records if isinstance(records, list) else [None], start=1):
                yield from _of_record(number, record)
        else:
            yield from _of_rows(file)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _of_record(number: int, record: Any) -> Iterator[_Found]:
    """What one object says: a descriptor's one signal, or all those of HMA's bank content."""
    if not isinstance(record, dict):
        yield number, "", ""
        return
    several = record.get("signals")
    if isinstance(several, dict) and several:
        for kind, value in several.items():
            yield number, str(kind), str(value)
        return
    yield number, *_judged(record)


def _of_rows(lines: Iterable[str]) -> Iterator[_Found]:
    rows = csv.reader(lines)
    columns: list[str] = []
    try:
        for number, row in enumerate(row for row in rows if "".join(row).strip() and not row[0].startswith("#")):
            if "\n" in "".join(row):
                yield rows.line_num, "", ""  # a quote that nobody closed swallows the lines after it
            elif number == 0 and _are_columns(row):
                columns = [one.strip().lower() for one in row]
            else:
                yield rows.line_num, *(_judged(dict(zip(columns, row, strict=False))) if columns else _plain(row))
    except csv.Error:
        yield rows.line_num, "", ""


def _are_columns(row: list[str]) -> bool:
    names = {one.strip().lower() for one in row}
    return bool(names & set(_VALUES) and names & set(_KINDS))


def _plain(row: list[str]) -> tuple[str, str]:
    """`type,value[,tags]`, `pdq HASH …` or a hash alone."""
    cells = [one.strip() for one in row] if len(row) > 1 else row[0].split()
    if len(cells) == 1:
        return ("pdq", cells[0]) if len(cells[0]) == 2 * BYTES else ("", "")
    return cells[0], cells[1]


def _judged(record: Mapping[str, Any]) -> tuple[str, str]:
    """Kind and value of one record with named fields; a kind of its own where its owner says that it is harmless."""
    kind = next((str(record[name]) for name in _KINDS if record.get(name)), "")
    value = next((str(record[name]).strip() for name in _VALUES if record.get(name)), "")
    if {str(record.get("status")), str(record.get("category"))} & _HARMLESS_OPINIONS:
        return _HARMLESS, value
    return kind, value
