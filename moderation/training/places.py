"""From the places a run names to one list of pairs: shards, manifests and saved datasets told apart, all that is wrong said at once."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from moderation.errors import TrainingError
from moderation.settings import ImageLimits
from moderation.training.manifest import MANIFESTS, Manifest
from moderation.training.pairs import Joined, Pairs
from moderation.training.saved_dataset import SavedDataset, is_saved_dataset
from moderation.training.shard import Shard
from moderation.training.shard_index import open_index

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_PROBLEMS = 50
_AT_ONCE = 8  # indexing waits for the disk or the network more than for the processor


def open_pairs(
    places: Sequence[Path],
    *,
    limits: ImageLimits | None = None,
    image_field: str | None = None,
    caption_field: str | None = None,
    split: str = "train",
    index_folder: Path | None = None,
) -> Pairs:
    """All pairs of `places`, in their order.

    A place is a tar shard or a pattern of shards (`{00000..00127}.tar`, `*.tar`), a folder of them, a manifest (.jsonl, .csv), or a
    folder that a Hugging Face dataset was saved to. Indexes that cannot be kept beside their shards go to `index_folder`.
    Raises TrainingError naming everything that is missing or unusable, and where more than half of all records are.
    """
    limits = limits or ImageLimits()
    fields = {"image_field": image_field, "caption_field": caption_field}

    def open_one(path: Path) -> Pairs | str:
        try:
            if path.is_dir():
                return SavedDataset(path, limits=limits, split=split, **fields)
            if path.suffix.lower() in MANIFESTS:
                return Manifest(path, limits=limits, **fields)
            return Shard(open_index(path, cache=index_folder), limits=limits)
        except TrainingError as error:
            return str(error)

    problems, files = _all_files(places)
    with ThreadPoolExecutor(_AT_ONCE, "index") as pool:
        opened = list(pool.map(open_one, files))
    problems += [one for one in opened if isinstance(one, str)]
    if problems:
        more = [f"… and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
        raise TrainingError("\n".join([*problems[:_MOST_PROBLEMS], *more]))
    return _checked(Joined([one for one in opened if not isinstance(one, str)]), places)


def _checked(found: Pairs, places: Sequence[Path]) -> Pairs:
    names = ", ".join(map(str, places))
    if not len(found):
        raise TrainingError(f"no pairs to train on: no places are given, or nothing is in them: {names or 'none'}")
    if found.broken.total > len(found):
        raise TrainingError(
            f"{names}: {found.broken.total} of {found.broken.total + len(found)} records are broken; expected at most half; "
            f"left out: {found.broken}"
        )
    return found


def _all_files(places: Sequence[Path]) -> tuple[list[str], list[Path]]:
    """(what is wrong, the files and dataset folders that the places stand for)"""
    problems: list[str] = []
    files: list[Path] = []
    for place in places:
        try:
            files += _files(place)
        except TrainingError as error:
            problems.append(str(error))
    return problems, files


def _files(place: Path) -> list[Path]:
    """What one place stands for; raises TrainingError where it stands for nothing."""
    if is_saved_dataset(place):
        return [place]
    if place.is_dir():
        found = sorted(path for path in place.rglob("*.tar") if not path.name.startswith("."))
        if not found:
            raise TrainingError(f"{place}: no *.tar in this folder, and no dataset was saved to it")
        return found
    if place.exists():  # a name may hold brackets and braces of its own
        return [_known(place)]
    return [_known(path) for name in _expand(str(place)) for path in _matching(name)]


def _matching(name: str) -> list[Path]:
    if not glob.has_magic(name):
        return [Path(name)]
    found = sorted(map(Path, glob.glob(name)))  # noqa: PTH207 - Path.glob refuses absolute patterns
    if not found:
        raise TrainingError(f"{name}: no file fits this pattern")
    return found


def _known(path: Path) -> Path:
    if path.suffix.lower() == ".tar" or path.suffix.lower() in MANIFESTS:
        return path
    expected = ", ".join(sorted({".tar", *MANIFESTS}))
    raise TrainingError(
        f"{path}: {'not known as data' if path.exists() else 'no such file'}; expected one of {expected}"
    )


def _expand(pattern: str) -> Iterator[str]:
    """`a{00..02}{x,y}` as a shell would: ranges keep their zeros, lists their order."""
    parts = _BRACES.split(pattern)
    choices = [_choices(part) if place % 2 else [part] for place, part in enumerate(parts)]
    return map("".join, itertools.product(*choices))


def _choices(inside: str) -> list[str]:
    if match := _RANGE.fullmatch(inside):
        first, last = match.groups()
        step = 1 if int(first) <= int(last) else -1
        return [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + step, step)]
    return inside.split(",")
