"""Pictures that `moderation search` and `classify` look at: files that are encoded now, or vectors kept before. What is wrong with one is counted and named, and ends nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import NDArray

from moderation.cli import terminal
from moderation.cli.summary import Failed, of_another_kind
from moderation.errors import DataError, ExitCode, ItemError
from moderation.extras import installed
from moderation.item import Modality, Part, content_digest
from moderation.source.entry import Entry
from moderation.source.find import PICTURES, TABLES, Found, find
from moderation.source.together import Read, read_together

if TYPE_CHECKING:
    from moderation.embedding.embedder import Embedder
    from moderation.history.vectors import PartBatch

BATCH = 64  # items that are encoded together, fewer where they are large


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture: the item that it is of, its place among that item's parts (None where it is the only one), and how to read it again.

    `read` raises ItemError where it is not there any more.
    """

    item: str
    part: int | None
    digest: str
    read: Callable[[], bytes]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.item if self.part is None else f"{self.item} part {self.part}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        return {"item": self.item, "part": self.part}

    def same(self) -> bytes:
        """Its content. Raises ItemError where it is not there any more, or not the one that was looked at."""
        content = self.read()
        if content_digest(content) != self.digest:
            raise ItemError("unreadable", f"{self.name}: another picture by now", cause="changed")
        return content


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """n pictures with their vectors, float16 [n, d]; `picture` gives one of them by its place here."""

    vectors: NDArray[np.float16]
    picture: Callable[[int], Picture]


@dataclass(slots=True)
class Told:
    """What is counted on the way: pictures looked at, those found in the cache, texts and videos (which are not), and what failed, by reason and cause."""

    pictures: int = 0
    hits: int = 0
    others: int = 0
    failed: dict[tuple[str, str], Failed] = field(default_factory=dict)
    left_alone: list[str] = field(default_factory=list)
    kinds: Sequence[str] = ()

    def fail(self, name: str, error: ItemError) -> None:
        """Count a picture that cannot be looked at, and name it at once: nothing is kept of each."""
        self.failed.setdefault((error.reason, error.cause), Failed()).add(name)
        terminal.note(terminal.one_line(f"{name}: {error}"))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, ready for JSON."""
        causes = [
            {"error": reason, "cause": cause or None, "items": one.items, "first": list(one.first)}
            for (reason, cause), one in sorted(self.failed.items())
        ]
        counts = {"pictures": self.pictures, "cache_hits": self.hits, "others": self.others}
        return {**counts, "causes": causes, "left_alone": self.left_alone}

    def print(self, *, to_stderr: bool) -> None:
        """For people: how many were looked at, and how many were not, for each reason."""
        tell = terminal.note if to_stderr else terminal.say
        tell(f"{terminal.counted(self.pictures, 'picture')} looked at, {self.hits} from the cache")
        for (reason, cause), one in sorted(self.failed.items()):
            why = f"{reason} ({cause})" if cause else reason
            tell(terminal.one_line(f"not looked at, {why}: {terminal.counted(one.items, 'picture')}"))
        if self.others:
            tell(f"not looked at, as no pictures: {terminal.counted(self.others, 'part')}")
        if self.left_alone:
            tell(of_another_kind(self.left_alone, self.kinds))

    def leave(self) -> None:
        """The end of the command: with the exit code of unusable data where not one picture was looked at."""
        if not self.pictures:
            raise typer.Exit(ExitCode.DATA)


@dataclass(frozen=True, slots=True)
class Named:
    """What the paths of a command name: files and folders of kept vectors, and what is to be encoded, if anything."""

    kept: Sequence[Path]
    fresh: Found | None
    max_bytes: int


def named(paths: Sequence[Path], *, max_bytes: int) -> Named:
    """What the paths name, before anything is loaded. Raises DataError as `find` does."""
    kept = [path for path in paths if is_kept(path)]
    fresh = [path for path in paths if path not in kept]
    return Named(kept, find(fresh, max_bytes=max_bytes) if fresh else None, max_bytes)


def pictures(wanted: Named, embedder: Embedder, told: Told) -> Iterator[Pictures]:
    """All of them, batch by batch: kept vectors first, then what is encoded now. Raises DataError as `read_parts` does."""
    if wanted.kept:
        yield from _kept(wanted.kept, embedder, told, wanted.max_bytes)
    if found := wanted.fresh:
        told.left_alone, told.kinds = found.left_alone, found.kinds
        with terminal.progress("encoding", found.total) as advance:
            for read in read_together(found.entries, BATCH):
                yield _encoded(read, embedder, told)
                advance(len(read))


def is_kept(path: Path) -> bool:
    """Whether this is a file of kept vectors, or a folder of them in which no pictures lie; any other table holds items."""
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return False  # which `find` tells of
    kinds = {one.suffix.lower() for one in files}
    if kinds & PICTURES or not kinds & TABLES or not installed("pyarrow"):
        return False
    from moderation.history.vectors import holds_vectors

    return holds_vectors(next(one for one in files if one.suffix.lower() in TABLES))


def _encoded(read: Iterable[Read], embedder: Embedder, told: Told) -> Pictures:
    seen: list[Picture] = []
    parts: list[Part] = []
    for entry, item in read:
        if isinstance(item, ItemError):
            told.fail(entry.id, item)
            continue
        for place, part in enumerate(item.parts):
            if part.modality is Modality.IMAGE:
                seen.append(
                    Picture(entry.id, place if len(item.parts) > 1 else None, part.digest, _again(entry, place))
                )
                parts.append(part)
            else:
                told.others += 1
    embedded = embedder.embed(parts)
    for row, refused in embedded.errors.items():
        told.fail(seen[row].name, refused)
    sound = [row for row in range(len(parts)) if row not in embedded.errors]
    told.pictures += len(sound)
    told.hits += int(embedded.hits.sum())
    return Pictures(embedded.vectors[sound], lambda at: seen[sound[at]])


def _again(entry: Entry, place: int) -> Callable[[], bytes]:
    return lambda: entry.read().parts[place].content


def _kept(paths: Sequence[Path], embedder: Embedder, told: Told, max_bytes: int) -> Iterator[Pictures]:
    from moderation.history.files import parquet_files
    from moderation.history.vectors import read_parts

    files = parquet_files(paths, "`moderation policy embed`")
    identity, width = embedder.encoder.fingerprint.identity, embedder.encoder.card.width
    with terminal.progress("reading vectors", len(files)) as advance:
        for file in files:
            for batch in read_parts([file], Modality.IMAGE, identity=identity, width=width):
                told.pictures += len(batch.vectors)
                for reason, count in batch.left_out.items():
                    told.failed.setdefault(("no vector", reason), Failed()).items += count
                yield Pictures(batch.vectors, _of(batch, max_bytes))
            advance(1)


def _of(batch: PartBatch, max_bytes: int) -> Callable[[int], Picture]:
    def picture(at: int) -> Picture:
        item, place = str(batch.item[at].as_py()), int(batch.place[at])
        return Picture(item, None if place < 0 else place, batch.digest[at].as_py(), lambda: _file(item, max_bytes))

    return picture


def _file(item: str, max_bytes: int) -> bytes:
    """What stands at the path that an item's id may be. Raises ItemError where there is no such picture."""
    try:
        (entry,) = find([Path(item)], max_bytes=max_bytes).entries if Path(item).suffix.lower() in PICTURES else ()
    except (DataError, ValueError):
        raise ItemError("unreadable", f"{item}: no picture of this name here", cause="no_such_file") from None
    return entry.read().parts[0].content
