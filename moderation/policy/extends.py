"""One parent for a policy: what the child writes replaces whole keys, and lists change by add, replace, remove."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from moderation.errors import Problem
from moderation.meant import did_you_mean
from moderation.policy.paths import join_path
from moderation.policy.yaml_source import Entry, Node, read_yaml

OPERATIONS = ("remove", "replace", "add")  # in the order in which they are done
# The lists that operations change, and the key that names an entry; None where the entry is its own name.
LISTS: dict[str, str | None] = {
    "definition.violates": "id",
    "definition.allowed": "id",
    "concepts.violating": "id",
    "concepts.contrast": "id",
    "detectors": None,
    "actions": "action",
    "tests": None,
    "audit.attributes": "name",
    "audit.harms": "name",
}
_NOT_INHERITED = ("schema", "id", "extends", "reason", *OPERATIONS)
_MAX_ANCESTORS = 8


def resolve(child: Node) -> tuple[Node, Node | None, list[Problem]]:
    """The child with its parents in it, the resolved parent if there is one, and the problems of both.

    Every node keeps the file and line where it was written.
    """
    return _resolve(child, ())


def _resolve(child: Node, below: tuple[Path, ...]) -> tuple[Node, Node | None, list[Problem]]:
    written = child.entries()
    own = {name: entry for name, entry in written.items() if name not in OPERATIONS}
    if "extends" not in written:
        message = "changes a parent's list, but this file extends nothing"
        lost = [written[name].key.problem("P106", f"{name}: {message}") for name in OPERATIONS if name in written]
        return replace(child, value=own), None, lost
    parent, problems = _parent(written["extends"].node, (*below, _identity(child.path)))
    if parent is None:
        return replace(child, value=own), None, problems
    inherited = {name: entry for name, entry in parent.entries().items() if name not in _NOT_INHERITED}
    merged = replace(child, value={**inherited, **own})
    for operation in OPERATIONS:
        if operation in written:
            merged, more = _apply(operation, written[operation].node, merged, own)
            problems += more
    if "reason" not in written:
        problems += _loosened(parent, merged, written["extends"].node)
    return merged, parent, problems


def _identity(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _parent(extends: Node, below: tuple[Path, ...]) -> tuple[Node | None, list[Problem]]:
    text = extends.text()
    path = join_path(text, extends.path.parent) if text else None
    if path is None:
        return None, [extends.problem("P106", "extends: expected one file, relative to this one, such as base.yaml")]
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(path.name + ".yaml")
    if _identity(path) in below or len(below) > _MAX_ANCESTORS:
        chain = " -> ".join(one.name for one in (*below, path))
        return None, [extends.problem("P106", f"extends: a policy cannot be its own ancestor: {chain}")]
    if not path.is_file():
        return None, [extends.problem("P106", f"extends: {path} is not a file")]
    node, problems = read_yaml(path)
    if node is None:
        return None, problems
    if not isinstance(node.value, dict):
        return None, [*problems, node.problem("P103", "found no mapping; expected a policy")]
    merged, _, more = _resolve(node, below)
    return merged, problems + more


def _apply(operation: str, sections: Node, merged: Node, own: dict[str, Entry]) -> tuple[Node, list[Problem]]:
    problems: list[Problem] = []
    if not isinstance(sections.value, dict):
        return merged, [sections.problem("P106", f"{operation}: expected a mapping from a list's name to entries")]
    for section, entry in sections.entries().items():
        if section not in LISTS:
            message = f"{operation}: no list {section!r} to change{did_you_mean(section, list(LISTS))}"
            problems.append(entry.key.problem("P106", message))
        elif section.split(".")[0] in own:
            message = f"{operation} {section}: this file also writes {section.split('.')[0]} whole; choose one"
            problems.append(entry.key.problem("P106", message))
        elif operation == "replace" and LISTS[section] is None:
            problems.append(entry.key.problem("P106", f"replace {section}: its entries have no ids; remove and add"))
        elif not isinstance(entry.node.value, tuple):
            problems.append(entry.node.problem("P106", f"{operation} {section}: expected a list"))
        else:
            keys = tuple(section.split("."))
            before = merged.get(*keys)
            after, more = _changed(operation, before.items() if before else (), entry.node.items(), LISTS[section])
            problems += more
            merged = _set(merged, keys, replace(before or entry.node, value=after), entry.key)
    return merged, problems


def _changed(
    operation: str, before: tuple[Node, ...], entries: tuple[Node, ...], name: str | None
) -> tuple[tuple[Node, ...], list[Problem]]:
    """A list after one operation; entries of `remove` are names, those of the others are written in full."""
    problems: list[Problem] = []
    known = {_name(node, name): node for node in before}
    for entry in entries:
        key = entry.text() if operation == "remove" else _name(entry, name)
        names = [one for one in known if one]
        if key is None:
            message = "expected an id" if operation == "remove" else f"expected an entry with its {name or 'value'}"
            problems.append(entry.problem("P106", f"{operation}: {message}"))
        elif operation == "add" and key in known:
            problems.append(entry.problem("P104", f"add: {key!r} is in the parent already; use replace"))
        elif operation != "add" and key not in known:
            problems.append(entry.problem("P106", f"{operation}: the parent has no {key!r}{did_you_mean(key, names)}"))
        elif operation == "remove":
            del known[key]
        else:
            known[key] = entry
    return tuple(known.values()), problems


def _name(node: Node, name: str | None) -> str | None:
    named = node.child(name) if name else node
    return named.text() if named else None


def _set(node: Node, keys: tuple[str, ...], value: Node, key: Node) -> Node:
    """The tree with another value at `keys`; mappings on the way are made where the parent has none."""
    if not keys:
        return value
    entries = node.entries()
    below = entries.get(keys[0], Entry(key, replace(key, value={})))
    entry = replace(below, node=_set(below.node, keys[1:], value, key))
    return replace(node, value={**entries, keys[0]: entry})


def _loosened(parent: Node, child: Node, where: Node) -> Iterator[Problem]:
    now = _promises(child)
    for action, promise in _promises(parent).items():
        weaker = _weaker(promise, now.get(action))
        if weaker:
            message = f"promises less than its parent for {action!r} ({weaker}); say why in `reason`"
            yield where.problem("P106", message)
    asked = _harms(child)
    for harm, registered in _harms(parent).items():
        weaker = _tolerates_more(registered, asked.get(harm))
        if weaker:
            yield where.problem("P106", f"is audited less than its parent for {harm!r} ({weaker}); say why in `reason`")
    if _is_true(parent.get("explainable")) and not _is_true(child.get("explainable")):
        yield where.problem("P106", "explains less than its parent (explainable is gone); say why in `reason`")


def _promises(node: Node) -> dict[str, Node]:
    return _named(node.get("actions"), "action")


def _harms(node: Node) -> dict[str, Node]:
    return _named(node.get("audit", "harms"), "name")


def _named(entries: Node | None, name: str) -> dict[str, Node]:
    return {key: one for one in (entries.items() if entries else ()) if (key := _name(one, name))}


def _tolerates_more(parent: Node, child: Node | None) -> str | None:
    if child is None:
        return "the harm is gone"
    before, after = _number(parent.get("tolerance")), _number(child.get("tolerance"))
    if before is not None and after is not None and after > before:
        return f"tolerance grew from {before} to {after}"
    if _is_true(parent.get("required")) and not _is_true(child.get("required")):
        return "it is no longer required"
    return None


def _is_true(node: Node | None) -> bool:
    return node is not None and node.value is True


def _weaker(parent: Node, child: Node | None) -> str | None:
    if child is None:
        return "the action is gone"
    metrics = [one.get("guarantee", "metric") for one in (parent, child)]
    if metrics[0] and metrics[1] and metrics[0].value != metrics[1].value:
        return f"{metrics[0].value} became {metrics[1].value}"
    for key in ("at_least", "confidence"):
        before, after = _number(parent.get("guarantee", key)), _number(child.get("guarantee", key))
        if before is not None and after is not None and after < before:
            return f"{key} fell from {before} to {after}"
    before, after = _number(parent.get("budget")), _number(child.get("budget"))
    if before is not None and (after is None or after > before):
        return f"budget grew from {before} to {'no limit' if after is None else after}"
    return None


def _number(node: Node | None) -> float | None:
    value = node.value if node else None
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
