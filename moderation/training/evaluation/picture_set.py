"""A labelled set to measure on: a folder of folders named as classes, or a manifest of pictures with their labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moderation.errors import DataError, ItemError, Problem
from moderation.training.manifest import IMAGE_FIELDS, MANIFESTS, Record, records

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: its file, its class, and the cluster that it shares with what it depends on (an object, an author)."""

    path: Path
    label: str
    cluster: str


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Labelled pictures under a name that reports call them by."""

    name: str
    pictures: tuple[Picture, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, sorted."""
        return tuple(sorted({one.label for one in self.pictures}))


def open_set(path: Path) -> PictureSet:
    """The set at `path`: a folder whose folders' names are the labels, or a .jsonl or .csv of path, label and perhaps cluster.

    A manifest's paths are taken from its own folder. Underscores in a label are read as spaces; without a cluster a picture is its
    own. Raises DataError that lists everything wrong: a class without pictures, a line without a label, a file that is not there.
    """
    if not path.exists():
        raise DataError([Problem(path, 0, 0, "D000", "no such file or folder; expected labelled pictures")])
    if path.is_dir():
        return PictureSet(path.resolve().name, _from_folder(path))
    if path.suffix.lower() not in MANIFESTS:
        message = f"expected a folder of folders named as classes, or a manifest: {', '.join(sorted(MANIFESTS))}"
        raise DataError([Problem(path, 0, 0, "D001", message)])
    return PictureSet(path.stem, _from_manifest(path))


def spread(found: PictureSet, most: int, *, seed: int) -> PictureSet:
    """At most `most` pictures, classes as even as can be, a pure function of the set and `seed`."""
    seen: Counter[str] = Counter()
    ranked = []
    for at in np.random.default_rng(seed).permutation(len(found.pictures)):
        label = found.pictures[at].label
        ranked.append((seen[label], int(at)))
        seen[label] += 1
    chosen = sorted(at for _, at in sorted(ranked, key=lambda one: one[0])[:most])
    return PictureSet(found.name, tuple(found.pictures[at] for at in chosen))


def _from_folder(folder: Path) -> tuple[Picture, ...]:
    pictures: list[Picture] = []
    empty = []
    classes = [one for one in sorted(folder.iterdir()) if one.is_dir() and not one.name.startswith(".")]
    for one in classes:
        files = [path for path in sorted(one.rglob("*")) if path.suffix.lower() in PICTURES and path.is_file()]
        if not files:
            empty.append(one)
        pictures += (Picture(path, _label(one.name), path.relative_to(folder).as_posix()) for path in files)
    kinds = ", ".join(sorted(PICTURES))
    if empty:
        raise DataError(Problem(one, 0, 0, "D001", f"a class without pictures; expected {kinds}") for one in empty)
    if not pictures:
        message = f"no folders in it; expected one for each class, named as the class, with {kinds} in it"
        raise DataError([Problem(folder, 0, 0, "D001", message)])
    return tuple(pictures)


def _from_manifest(path: Path) -> tuple[Picture, ...]:
    problems: list[Problem] = []
    pictures: list[Picture] = []
    try:
        for line, record in records(path):
            try:
                pictures.append(_picture(record, path.parent))
            except ItemError as error:
                problems.append(Problem(path, line, 1, "D003", str(error)))
    except OSError as error:
        raise DataError([Problem(path, 0, 0, "D001", f"cannot be read: {error.strerror}")]) from None
    if problems:
        raise DataError(problems)
    if not pictures:
        raise DataError([Problem(path, 0, 0, "D001", "the manifest holds no pictures")])
    return tuple(pictures)


def _picture(record: Record, folder: Path) -> Picture:
    if isinstance(record, ItemError):
        raise record
    name = next(filter(None, map(record.get, IMAGE_FIELDS)), None)
    label, cluster = record.get("label"), record.get("cluster") or name
    for value, field in ((name, " or ".join(IMAGE_FIELDS)), (label, "label"), (cluster, "cluster")):
        if not (isinstance(value, str) and value.strip()):
            raise ItemError("bad_record", f"{field} is {value!r}; expected a non-empty string")
    if not _is_file(folder / str(name)):
        raise ItemError("unreadable", f"{name!r} is not a file")
    return Picture(folder / str(name), _label(str(label)), str(cluster))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def _label(name: str) -> str:
    return name.replace("_", " ").strip()
