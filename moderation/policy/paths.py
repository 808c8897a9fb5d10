"""File names in policy files: relative to the file they are written in, with forward slashes, never absolute."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from moderation.errors import Problem
from moderation.policy.yaml_source import Node

BACKGROUND = Path("data") / "background.jsonl"  # ordinary content, beside the policy files that share it
POLICY_PATHS = (("data", "*"), ("exemplars", "*"), ("tests", "*"))
_REFUSED = re.compile(r"^[/~]|\\|^[A-Za-z]:|[\x00-\x1f]|://")


def join_paths(node: Node, fields: Sequence[tuple[str, ...]]) -> tuple[Node, list[Problem]]:
    """The tree with each file name at `fields` ("*" is any key or index) joined to its file's folder; and problems."""
    problems: list[Problem] = []
    for keys in fields:
        node = _join(node, keys, problems)
    return node, problems


def join_path(text: str, folder: Path) -> Path | None:
    """A file name joined to the folder it is relative to; None where it may not be written in a policy."""
    if not text.strip() or _REFUSED.search(text):
        return None
    return Path(os.path.normpath(folder / text))


def background_of(policy: Path, policy_id: str) -> Path:
    """Where the ordinary content for a policy file lies: its own where there is one, else what its folder shares."""
    own = policy.parent / BACKGROUND.with_name(f"{policy_id}.{BACKGROUND.name}")
    return own if own.exists() else policy.parent / BACKGROUND


def _join(node: Node, keys: tuple[str, ...], problems: list[Problem]) -> Node:
    if not keys:
        return _leaf(node, problems)
    if isinstance(node.value, tuple) and keys[0] == "*":
        return replace(node, value=tuple(_join(one, keys[1:], problems) for one in node.value))
    if isinstance(node.value, dict):
        entries = {
            key: replace(entry, node=_join(entry.node, keys[1:], problems)) if keys[0] in ("*", key) else entry
            for key, entry in node.value.items()
        }
        return replace(node, value=entries)
    return node


def _leaf(node: Node, problems: list[Problem]) -> Node:
    if not isinstance(node.value, str):
        return node
    path = join_path(node.value, node.path.parent)
    if path is None:
        expected = "expected a path relative to this file, with forward slashes"
        problems.append(node.problem("P103", f"found {node.value!r}; {expected}"))
        path = node.path.parent / "refused"
    return replace(node, value=path)


def is_file(path: Path) -> bool:
    """Whether there is a file; a name too long for the system, or in a folder that may not be entered, is none."""
    try:
        return path.is_file()
    except OSError:
        return False
