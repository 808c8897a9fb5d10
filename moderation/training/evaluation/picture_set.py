"""A set to measure on: a folder of folders named as classes, or JSON lines of pictures with labels and captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moderation.errors import DataError, Problem
from moderation.policy.manifest import MAX_LINE_BYTES, bounded_lines

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
_KEYS = frozenset({"path", "label", "caption", "captions", "cluster"})


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: its file, its class and captions where it has them, and the cluster that it shares with what it depends on."""

    path: Path
    label: str | None
    captions: tuple[str, ...]
    cluster: str


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures under a name that reports call them by."""

    name: str
    pictures: tuple[Picture, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({one.label for one in self.pictures if one.label is not None}))

    def labelled(self) -> PictureSet:
        """The pictures that have a label."""
        return PictureSet(self.name, tuple(one for one in self.pictures if one.label is not None))

    def captioned(self) -> PictureSet:
        """The pictures that have a caption."""
        return PictureSet(self.name, tuple(one for one in self.pictures if one.captions))


def open_set(path: Path) -> PictureSet:
    """The set at `path`: a folder, whose folders' names are the labels, or a .jsonl manifest beside its pictures.

    A line is {"path", "label" or "caption" or "captions", optionally "cluster"}; "path" is taken from the manifest's folder.
    Underscores in a folder's name are read as spaces. Raises DataError that lists every wrong line, and where nothing is found.
    """
    pictures = _from_folder(path) if path.is_dir() else _from_lines(path)
    return PictureSet(path.stem if path.is_file() else path.resolve().name, pictures)


def spread(found: PictureSet, most: int, *, seed: int = 7) -> PictureSet:
    """At most `most` labelled pictures, classes as even as can be, a pure function of the set and `seed`."""
    import numpy as np

    rng = np.random.default_rng(seed)
    seen: Counter[str | None] = Counter()
    ranked = []
    for at in rng.permutation(len(found.pictures)):
        label = found.pictures[at].label
        ranked.append((seen[label], int(at)))
        seen[label] += 1
    chosen = sorted(at for _, at in sorted(ranked, key=lambda one: one[0])[:most])
    return PictureSet(found.name, tuple(found.pictures[at] for at in chosen))


def _from_folder(folder: Path) -> tuple[Picture, ...]:
    pictures = tuple(
        Picture(path, label.name.replace("_", " "), (), path.relative_to(folder).as_posix())
        for label in sorted(folder.iterdir())
        if label.is_dir()
        for path in sorted(label.rglob("*"))
        if path.suffix.lower() in PICTURES and path.is_file()
    )
    if not pictures:
        message = f"no pictures; expected folders named as classes, with {', '.join(sorted(PICTURES))} in them"
        raise DataError([Problem(folder, 0, 0, "D001", message)])
    return pictures


def _from_lines(path: Path) -> tuple[Picture, ...]:
    problems: list[Problem] = []
    pictures = []
    try:
        with path.open("rb") as stream:
            for number, line in _numbered(bounded_lines(stream)):
                found = _picture(line, path.parent)
                if isinstance(found, str):
                    problems.append(Problem(path, number, 1, "D003", found))
                else:
                    pictures.append(found)
    except OSError as error:
        raise DataError([Problem(path, 0, 0, "D001", f"cannot be read: {error.strerror}")]) from None
    if problems:
        raise DataError(problems)
    if not pictures:
        raise DataError([Problem(path, 0, 0, "D001", "the manifest holds no pictures")])
    return tuple(pictures)


def _numbered(lines: Iterator[bytes | None]) -> Iterator[tuple[int, bytes | None]]:
    return ((number, line) for number, line in enumerate(lines, start=1) if line is None or line.strip())


def _picture(line: bytes | None, folder: Path) -> Picture | str:
    """The picture of a line, or what is wrong with it."""
    if line is None:
        return f"the line is longer than {MAX_LINE_BYTES:,} bytes"
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not a line of JSON: {error}"
    if wrong := _wrong(row):
        return wrong
    path = folder / row["path"]
    try:
        there = path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        there = False
    if not there:
        return f"{row['path']!r} is not a file"
    return Picture(path, row.get("label"), _captions(row), row.get("cluster", row["path"]))


def _wrong(row: Any) -> str | None:
    if not isinstance(row, dict):
        return f"found {type(row).__name__}; expected one JSON object a line"
    if unknown := sorted(row.keys() - _KEYS):
        return f"unknown key {', '.join(map(repr, unknown))}; expected {', '.join(sorted(_KEYS))}"
    for key in ("path", "label", "caption", "cluster"):
        if (key in row or key == "path") and not _is_text(row.get(key)):
            return f"{key!r} is {row.get(key)!r}; expected a non-empty string"
    several = row.get("captions", [])
    if not isinstance(several, list) or not all(map(_is_text, several)):
        return f"'captions' is {several!r}; expected a list of non-empty strings"
    if "caption" in row and "captions" in row:
        return "found 'caption' and 'captions'; expected one of them"
    says = "label" in row or bool(_captions(row))
    return None if says else "found neither 'label' nor a caption; expected at least one"


def _captions(row: Mapping[str, Any]) -> tuple[str, ...]:
    several: Sequence[str] = row.get("captions", [])
    return (row["caption"],) if "caption" in row else tuple(several)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
