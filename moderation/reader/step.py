"""The step before policies ask: what readers derive joins its item, and what nobody could read leaves a mark that no policy overlooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from moderation.decision import Abstention
from moderation.detector.call import Check
from moderation.detector.runner import UnitRunner
from moderation.errors import ItemError
from moderation.item import BEHIND, UNSUPPORTED_INPUT, ContentItem, Modality, Part
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import Reader, Reading, check_readings, crops, downstream
from moderation.reader.isolated import IsolatedReader

_NOTHING = ItemError(UNSUPPORTED_INPUT, "no picture was derived", cause="nothing_read")


class ReaderRunner(UnitRunner[tuple[Part, ...], Sequence[Part]]):
    """Runs readers."""

    kind = "reader"

    def __init__(self, readers: Sequence[Reader], settings: ReaderSettings, *, earlier: ReaderRunner | None) -> None:
        self._limits = settings
        super().__init__(readers, settings=settings, earlier=earlier)

    def _call(self, unit: Reader, batch: tuple[Part, ...], seconds: float) -> object:
        if isinstance(unit, IsolatedReader):
            return unit.read(batch, seconds=seconds, limits=self._limits)
        return unit.read(batch)

    def _found(self, answers: Sequence[Any]) -> str:
        return f"{len(answers)} read, {sum(map(len, answers))} parts derived"

    def _check(self, unit: Reader) -> Check:
        return partial(check_readings, yields=frozenset(unit.yields), limits=self._limits)


class Readers:
    """The readers in force. What one derived is shown to the others, wave after wave, and never to one that it came through.

    A wave is a batch of each reader, with its deadline; there are as many as readers at most. A part that is of none of the `modalities`
    is shown to nobody.
    """

    def __init__(self, readers: Sequence[Reader], settings: ReaderSettings, *, earlier: Readers | None = None) -> None:
        known: ReaderRunner | None = earlier.runner if earlier else None
        self.runner: ReaderRunner = ReaderRunner(readers, settings, earlier=known)
        self.in_force = tuple(readers)
        self.modalities = frozenset(modality for one in readers for modality in one.reads)
        self._limits = settings

    def read(self, items: Sequence[ContentItem]) -> list[ContentItem]:
        """The items, in order, with what was derived from their parts, its `source` being its part's name, or place (`part-0`).

        A video gives way to what was derived from it. A part that a reader could not read is followed by an empty one of each modality that
        the reader yields, and that others would have derived from that, which says why, so that a policy that would have judged the real one
        errs; a video of which nothing at all was made stays, and every policy errs; where pictures alone are missing, who would have judged
        them or what is derived from them does.
        """
        links = [_links(item, self._limits) for item in items]
        wave = [one for own in links for one in own if not one.part.unread]
        read_by: frozenset[tuple[str, str]] = frozenset()
        while wave:
            wave, spoken = self._read(wave)
            read_by |= spoken
        return [
            replace(item, parts=tuple(self._parts(own)), read_by=read_by) if any(one.read for one in own) else item
            for item, own in zip(items, links, strict=True)
        ]

    def _read(self, wave: Sequence[_Link]) -> tuple[list[_Link], set[tuple[str, str]]]:
        """Have these parts read, each by all who can; what was made of them, for the next wave, and the revisions of which who read spoke."""
        asked = {
            one.id: [link for link in wave if link.part.modality in one.reads and one.id not in link.through]
            for one in self.in_force
        }
        shown = {id_: tuple(link.part for link in links if not link.fault) for id_, links in asked.items()}
        with self.runner.turn() as run:
            said = {id_: iter(readings) for id_, readings in run(shown).items()}
            spoken = {(id_, told) for id_, told in self.runner.revisions.items() if shown[id_]}
        made: list[_Link] = []
        # Who only crops takes of the room what the others leave, in whatever order they stand.
        for reader in sorted(self.in_force, key=crops):
            shares = _shares(asked[reader.id]) if crops(reader) else {}
            for link in asked[reader.id]:
                told = Abstention(link.fault.reason, cause=link.fault.cause) if link.fault else next(said[reader.id])
                if shares and not isinstance(told, Abstention):
                    told = told[: shares[id(link.left)]]
                reading = link.left.within(told)
                if isinstance(reading, Abstention):
                    link.take(self._marks(link, reader, reading), reader)
                else:
                    named = [replace(one, name=one.name or f"{reader.id}-{n}") for n, one in enumerate(reading)]
                    derived = link.take(named, reader)
                    made += (
                        () if crops(reader) else derived
                    )  # a place of what the others are shown anyway tells them nothing
        return made, spoken

    def _marks(self, link: _Link, reader: Reader, why: Abstention) -> list[Part]:
        """What stands for that which this reader would have derived, and others from that."""
        unread = ItemError(why.reason, f"reader {reader.id!r} did not read it", cause=why.cause)
        lost = reader.yields if crops(reader) else self._lost(reader.yields, {*link.through, reader.id})
        return [Part(one, b"", reader.id, unread=unread) for one in sorted(lost)]

    def _lost(self, yields: Iterable[Modality], through: Collection[str]) -> set[Modality]:
        """What of parts of these modalities cannot be judged once they are missing: they themselves, and what others derive from them."""
        others = [one for one in self.in_force if one.id not in through]
        return {*yields, *(modality for one in downstream(others, yields) for modality in one.yields)}

    def _parts(self, own: Sequence[_Link]) -> Iterator[Part]:
        for link in own:
            pictures = any(one.part.modality is Modality.IMAGE for one in link.made)
            if link.part.modality is not Modality.VIDEO or not link.read:
                yield link.part
            elif not link.made:
                yield replace(link.part, unread=_NOTHING)
            elif not pictures:
                # What was heard tells nothing of what was to be seen.
                for lost in sorted(self._lost({Modality.IMAGE}, ())):
                    yield Part(lost, b"", link.name, link.name, _NOTHING)
        for link in own:
            yield from link.derived()


@dataclass(slots=True)
class _Left:
    """How many parts may still be derived from one part of an item, whoever derives them from whatever was made of it, and of how many bytes."""

    parts: int
    bytes: int

    def within(self, reading: Reading) -> Reading:
        """The reading, counted; an abstention where it is too much."""
        if isinstance(reading, Abstention):
            return reading
        size = sum(len(one.content) for one in reading)
        if len(reading) > self.parts or size > self.bytes:
            return Abstention(UNSUPPORTED_INPUT, cause=f"too_many_{'parts' if len(reading) > self.parts else 'bytes'}")
        self.parts, self.bytes = self.parts - len(reading), self.bytes - size
        return reading


@dataclass(slots=True, eq=False)
class _Link:
    """A part of an item, or one in a chain behind it; its name for what is derived from it, and all `names` of the item."""

    part: Part
    name: str
    names: set[str]
    left: _Left
    read: bool = False
    made: list[_Link] = field(default_factory=list)

    @property
    def through(self) -> list[str]:
        """The readers that it came through, first to last."""
        return self.part.reader.split(BEHIND) if self.part.reader else []

    @property
    def fault(self) -> ItemError | None:
        """Why it can be shown to no reader; a video can."""
        return None if self.part.modality is Modality.VIDEO else self.part.fault

    def take(self, parts: Iterable[Part], reader: Reader) -> list[_Link]:
        """What this reader made of it, or the marks in its place, as the next in the chain."""
        self.read = True
        through = BEHIND.join([*self.through, reader.id])
        made = []
        for part in parts:
            name = f"{self.name}#{part.name}"
            name = name if part.unread else self._free(name)
            made.append(_Link(replace(part, name=name, source=self.name, reader=through), name, self.names, self.left))
        self.made += made
        return made

    def derived(self) -> Iterator[Part]:
        """All that was made of it: each part, and what was made of that."""
        for one in self.made:
            yield one.part
            yield from one.derived()

    def _free(self, name: str) -> str:
        """Two readers may name parts alike."""
        free, number = name, 1
        while free in self.names:
            number += 1
            free = f"{name}-{number}"
        self.names.add(free)
        return free


def _shares(links: Iterable[_Link]) -> dict[int, int]:
    """How many parts each of these may have, by what bounds it: of one bound all alike.

    Who only shows places of what is judged whole, as tiles of sixty frames, is cut short where it derives more than that, its first parts kept.
    """
    sharers = [link.left for link in links]
    counts = Counter(map(id, sharers))
    return {id(left): left.parts // counts[id(left)] for left in sharers}


def _links(item: ContentItem, limits: ReaderSettings) -> list[_Link]:
    names = {part.name for part in item.parts}
    return [
        _Link(part, part.name or f"part-{at}", names, _Left(limits.most_together, limits.most_bytes))
        for at, part in enumerate(item.parts)
    ]
