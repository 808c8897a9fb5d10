"""YAML into positioned nodes: YAML 1.2 without anchors, tags or surprises, every problem located."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from moderation.errors import Problem
from moderation.meant import neighbour
from moderation.policy.scalars import Scalar, resolve

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_LINE = 10_000  # scanning takes time quadratic in the length of some lines


@dataclass(frozen=True, slots=True)
class Node:
    """One YAML value and where it starts: a scalar, a tuple of nodes, or a mapping of keys to entries."""

    value: Scalar | tuple[Node, ...] | dict[str, Entry]
    path: Path
    line: int
    column: int

    def get(self, *keys: str | int) -> Node | None:
        """The node below this one, or None where the file does not have it."""
        node: Node | None = self
        for key in keys:
            node = node.child(key) if node else None
        return node

    def locate(self, *keys: str | int) -> Node:
        """The node at `keys`, or the nearest one above it that the file has."""
        node = self
        for key in keys:
            below = node.child(key)
            if below is None:
                break
            node = below
        return node

    def child(self, key: str | int) -> Node | None:
        """The node of one key of a mapping or one index of a list."""
        if isinstance(self.value, dict) and isinstance(key, str):
            entry = self.value.get(key)
            return entry.node if entry else None
        if isinstance(self.value, tuple) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def items(self) -> tuple[Node, ...]:
        """The nodes of a list; nothing where this is not a list."""
        return self.value if isinstance(self.value, tuple) else ()

    def entries(self) -> dict[str, Entry]:
        """The entries of a mapping; nothing where this is not a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    def text(self) -> str | None:
        """The value where it is a text."""
        return self.value if isinstance(self.value, str) else None

    def problem(self, code: str, message: str) -> Problem:
        """A problem at this node."""
        return Problem(self.path, self.line, self.column, code, message)


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    key: Node
    node: Node


def plain(node: Node) -> Any:
    """The node's value without positions; lists become tuples."""
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    return tuple(plain(one) for one in node.value) if isinstance(node.value, tuple) else node.value


def read_yaml(path: Path) -> tuple[Node | None, list[Problem]]:
    """The one document of a file, and every problem found while reading it; no node where there is nothing to use."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        return None, [Problem(path, 0, 0, "Y001", f"cannot be read: {said}{neighbour(path)}")]
    return parse_yaml(content, path)


def parse_yaml(content: bytes, path: Path) -> tuple[Node | None, list[Problem]]:
    """As `read_yaml`, for the bytes of a file; `path` is only what the problems name."""
    if len(content) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES:,} bytes; expected a policy, not data"
        return None, [Problem(path, 0, 0, "Y001", message)]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        message = f"byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        return None, [Problem(path, before.count(b"\n") + 1, column, "Y001", message)]
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            return None, [
                Problem(path, number, MAX_LINE + 1, "Y001", f"the line is longer than {MAX_LINE:,} characters")
            ]
    return _Reader(path).read(text)


_UNPRINTABLE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\ud800-\\udfff]")
_ANCHOR = "anchors (&name) are not allowed; write the value out"
_ALIAS = "aliases (*name) are not allowed; write the value out, or quote it if it is a text"
_COMMA = "{name!r} became a key without a value: the comma before it ended the text; put quotes around the whole text"


def _is_empty(event: Any) -> bool:
    return isinstance(event, ScalarEvent) and not event.style and not event.value


def _code_point(error: ReaderError) -> str:
    character = error.character
    return f"{character if isinstance(character, int) else ord(character):04X}"


def _syntax(error: MarkedYAMLError) -> str:
    problem = " ".join(part for part in (error.context, error.problem) if part)
    if "\\t" in problem:
        return "a tab cannot indent; use spaces"
    if "mapping values are not allowed" in problem:
        return "a second ': ' in one line; put quotes around a text that holds a colon"
    return f"not valid YAML: {problem}"


class _StopError(Exception):
    """Reading cannot go on; the problem is already noted."""


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[Problem] = []
        self._pull: Iterator[Any] = iter(())

    def read(self, text: str) -> tuple[Node | None, list[Problem]]:
        node = None
        try:
            self._pull = self._events(text)
            for event in self._pull:
                if isinstance(event, DocumentStartEvent):
                    self._document(event, first=node is None)
                elif isinstance(event, (ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent)):
                    node = self._node(event, depth=0)
        except _StopError:
            return None, self._problems
        if node is None:
            self._note(1, 1, "Y002", "the file holds no document; expected a mapping")
        return node, self._problems

    def _events(self, text: str) -> Iterator[Any]:
        stream = None
        while True:
            try:
                # Made in here because the first characters are checked when the stream is made.
                stream = stream or YAML(typ="safe", pure=True).parse(text)
                event = next(stream, None)
            except ReaderError as error:
                before = text[: error.position]
                column = len(before) - before.rfind("\n")
                self._stop(before.count("\n") + 1, column, "Y002", f"character U+{_code_point(error)} is not allowed")
            except MarkedYAMLError as error:
                mark = error.problem_mark or error.context_mark
                line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
                self._stop(line, column, "Y002", _syntax(error))
            except (YAMLError, ValueError, LookupError, AssertionError, AttributeError, TypeError) as error:
                self._stop(0, 0, "Y002", f"is not valid YAML: {error}")
            if event is None:
                return
            yield event

    def _document(self, event: Any, *, first: bool) -> None:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if not first:
            self._stop(line, column, "Y005", "a second document starts here; expected one document in a file")
        if event.version or event.tags:
            self._note(line, column, "Y004", "%YAML and %TAG directives are not allowed; remove them")

    def _node(self, event: Any, *, depth: int) -> Node:
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if depth > MAX_DEPTH:
            self._stop(line, column, "Y005", f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:
            self._note(line, column, "Y004", _ALIAS if isinstance(event, AliasEvent) else _ANCHOR)
        tag = None if isinstance(event, AliasEvent) else event.tag
        if tag:
            self._note(line, column, "Y004", "tags such as !!str are not allowed; quote the value to make it a text")
        value: Any = None
        if isinstance(event, MappingStartEvent):
            value = self._mapping(flow=bool(event.flow_style), depth=depth)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(depth=depth)
        elif isinstance(event, ScalarEvent):
            text = self._printable(event)
            value = text if event.style or tag else self._resolve(text, line, column)
        return Node(value, self._path, line, column)

    def _next(self) -> Any:
        return next(self._pull)

    def _sequence(self, *, depth: int) -> tuple[Node, ...]:
        nodes = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            nodes.append(self._node(event, depth=depth + 1))
        return tuple(nodes)

    def _mapping(self, *, flow: bool, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event, depth=depth)
            value_event = self._next()
            value = self._node(value_event, depth=depth + 1)
            name = key.value
            if not isinstance(name, str):
                continue
            if _is_empty(value_event):  # its own place would be that of whatever comes next
                value = replace(value, line=key.line, column=key.column)
            if flow and _is_empty(value_event) and value_event.end_mark.index == event.end_mark.index:
                self._problems.append(key.problem("Y007", _COMMA.format(name=name)))
            elif name in entries:
                first = entries[name].key
                message = f"key {name!r} is written twice; the first is at line {first.line}"
                self._problems.append(key.problem("Y003", message))
            else:
                entries[name] = Entry(key, value)
        return entries

    def _key(self, event: Any, *, depth: int) -> Node:
        if isinstance(event, ScalarEvent) and event.anchor is None and not event.tag:
            return Node(self._printable(event), self._path, event.start_mark.line + 1, event.start_mark.column + 1)
        node = self._node(event, depth=depth + 1)
        if not isinstance(event, (ScalarEvent, AliasEvent)):
            self._problems.append(node.problem("Y002", "a key must be a text, not a list or a mapping"))
        return node

    def _printable(self, event: Any) -> str:
        """The text of a scalar; escapes may not bring in what the file itself may not hold."""
        refused = _UNPRINTABLE.search(event.value)
        if refused:
            message = f"character U+{ord(refused.group()):04X} is not allowed"
            self._note(event.start_mark.line + 1, event.start_mark.column + 1, "Y002", message)
        return _UNPRINTABLE.sub("?", event.value)

    def _resolve(self, text: str, line: int, column: int) -> Scalar:
        value, surprise = resolve(text)
        if surprise:
            self._note(line, column, "Y006", surprise)
        return value

    def _note(self, line: int, column: int, code: str, message: str) -> None:
        self._problems.append(Problem(self._path, line, column, code, message))

    def _stop(self, line: int, column: int, code: str, message: str) -> None:
        self._note(line, column, code, message)
        raise _StopError
