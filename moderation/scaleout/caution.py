"""How an entry that kills its worker is found: a note before each piece that is decided outlives the death, and whoever comes next takes that piece apart.

The first worker leaves no notes. The second decides the same batches, each noted before and after; a batch that killed is decided entry by entry,
and an entry that killed twice, alone, is not tried again: it is an error of its own, as a record on a stream that kills is set aside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from moderation.errors import ItemError
from moderation.scaleout.parts import put_note
from moderation.source.together import Read

TRIES = 2  # of an entry alone
MOST = 3  # entries of one portion that may kill: of more, it is not the entries
_KILLED = ItemError("crash", "its worker died each time that it was decided alone", cause="killed")


class Caution:
    """What was found out about one portion by workers that died of it, kept in a file. To be made once each time that the portion is begun.

    Raises DataError where the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0
        told = _read(path)
        self._begun: int = told["begun"]  # how often without finding out more
        self._trying: list[int] = told["trying"]  # the places of what was being decided
        self._apart: set[int] = set(told["apart"])  # places of batches that killed
        self._alone: dict[int, int] = dict(told["alone"])  # deaths of entries that were tried alone
        self._learn()
        self._write([])

    def hopeless(self, attempts: int) -> bool:
        """Whether it was begun more than so many times without finding out more, or it cannot be the entries."""
        return self._begun > attempts or sum(count >= TRIES for count in self._alone.values()) > MOST

    def pieces(self, read: Sequence[Read]) -> Iterator[Sequence[Read]]:
        """What of the portion's next batch is decided together: all of it, until it has killed; an entry that did is an error."""
        places = range(self._place, self._place + len(read))
        self._place = places.stop
        if self._apart.isdisjoint(places):
            yield from self._noted(places, read)
            return
        for place, (entry, found) in zip(places, read, strict=True):
            if self._alone.get(place, 0) < TRIES:
                yield from self._noted([place], [(entry, found)])
            else:
                yield [(entry, _KILLED)]

    def _noted(self, places: Sequence[int], piece: Sequence[Read]) -> Iterator[Sequence[Read]]:
        careful = self._begun > 1 or self._apart or self._alone
        if careful:
            self._write(places)
        yield piece
        if careful:
            self._write([])

    def _learn(self) -> None:
        """From what was being decided when the last worker died."""
        self._begun = 1 if self._trying else self._begun + 1
        self._apart.update(self._trying)
        for place in self._trying if len(self._trying) == 1 else ():
            self._alone[place] = self._alone.get(place, 0) + 1

    def _write(self, trying: Sequence[int]) -> None:
        told = {"begun": self._begun, "trying": list(trying), "apart": sorted(self._apart), "alone": sorted(self._alone.items())}  # fmt: skip
        put_note(self._path, json.dumps(told))


def _read(path: Path) -> dict[str, Any]:
    """What was found out so far; nothing where it was never begun, or a machine lost its power amid a note."""
    nothing = {"begun": 0, "trying": [], "apart": [], "alone": []}
    with suppress(OSError, ValueError):
        return {**nothing, **json.loads(path.read_text(encoding="utf-8"))}
    return nothing
