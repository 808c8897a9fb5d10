"""The step before policies ask: what readers derive joins its item, and what nobody could read leaves a mark that no policy overlooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from moderation.decision import Abstention
from moderation.detector.call import Check
from moderation.detector.runner import UnitRunner
from moderation.errors import ItemError
from moderation.item import UNSUPPORTED_INPUT, ContentItem, Modality, Part
from moderation.reader.base import Reader, Reading, check_readings
from moderation.settings import ReaderSettings

_NOTHING = ItemError(UNSUPPORTED_INPUT, "no picture was derived", cause="nothing_read")
Place = tuple[int, int]  # which item of a batch, which part of that item
Readings = Mapping[Place, Sequence[tuple[Reader, Reading]]]


class ReaderRunner(UnitRunner[tuple[Part, ...], Sequence[Part]]):
    """Runs readers."""

    kind = "reader"

    def __init__(self, readers: Sequence[Reader], settings: ReaderSettings, *, earlier: ReaderRunner | None) -> None:
        self._limits = settings
        super().__init__(readers, settings=settings, earlier=earlier)

    def _call(self, unit: Reader, batch: tuple[Part, ...], seconds: float) -> object:  # noqa: ARG002 - it is left behind
        return unit.read(batch)

    def _found(self, answers: Sequence[Any]) -> str:
        return f"{len(answers)} read, {sum(map(len, answers))} parts derived"

    def _check(self, unit: Reader) -> Check:
        return partial(check_readings, yields=frozenset(unit.yields), limits=self._limits)


class Readers:
    """The readers in force. One level: what a reader derived is read by none."""

    def __init__(self, readers: Sequence[Reader], settings: ReaderSettings, *, earlier: Readers | None = None) -> None:
        known: ReaderRunner | None = earlier.runner if earlier else None
        self.runner: ReaderRunner = ReaderRunner(readers, settings, earlier=known)
        self.in_force = tuple(readers)

    def read(self, items: Sequence[ContentItem]) -> list[ContentItem]:
        """The items, in order, with what was derived from their parts, its `source` being its part's name, or place (`part-0`).

        A video gives way to what was derived from it. A part that a reader could not read is followed by an empty one of each modality that
        the reader yields, which says why, so that a policy that would have judged the real one errs; a video of which nothing at all
        was made stays, and every policy errs; where pictures alone are missing, policies on pictures do.
        """
        readings = self._readings(items)
        return [
            replace(item, parts=tuple(self._parts(index, item, readings)))
            if any((index, at) in readings for at in range(len(item.parts)))
            else item
            for index, item in enumerate(items)
        ]

    def _readings(self, items: Sequence[ContentItem]) -> Readings:
        readings: dict[Place, list[tuple[Reader, Reading]]] = {}
        shown: dict[str, dict[Place, Part]] = {one.id: {} for one in self.in_force}
        for index, item in enumerate(items):
            for at, part in enumerate(item.parts):
                fault = None if part.modality is Modality.VIDEO else part.fault
                for reader in self.in_force:
                    if part.modality not in reader.reads:
                        continue
                    if fault:
                        told = Abstention(fault.reason, cause=fault.cause)
                        readings.setdefault((index, at), []).append((reader, told))
                    else:
                        shown[reader.id][index, at] = part
        said = self.runner.run({id_: tuple(parts.values()) for id_, parts in shown.items()})
        for reader in self.in_force:
            for place, reading in zip(shown[reader.id], said[reader.id], strict=True):
                readings.setdefault(place, []).append((reader, reading))
        return readings

    def _parts(self, index: int, item: ContentItem, readings: Readings) -> Iterator[Part]:
        derived: list[Part] = []
        for at, part in enumerate(item.parts):
            made = [one for pair in readings.get((index, at), ()) for one in _derived(part, at, *pair)]
            derived += made
            if part.modality is not Modality.VIDEO or (index, at) not in readings:
                yield part
            elif not made:
                yield replace(part, unread=_NOTHING)
            elif all(one.modality is not Modality.IMAGE for one in made):
                # What was heard tells nothing of what was to be seen.
                yield Part(Modality.IMAGE, b"", _source(part, at), _source(part, at), _NOTHING)
        yield from derived


def _derived(part: Part, at: int, reader: Reader, reading: Reading) -> list[Part]:
    source = _source(part, at)
    if isinstance(reading, Abstention):
        unread = ItemError(reading.reason, f"reader {reader.id!r} did not read it", cause=reading.cause)
        return [Part(one, b"", f"{source}#{reader.id}", source, unread, reader.id) for one in sorted(reader.yields)]
    return [
        replace(one, name=f"{source}#{one.name or f'{reader.id}-{number}'}", source=source, reader=reader.id)
        for number, one in enumerate(reading)
    ]


def _source(part: Part, at: int) -> str:
    """What a part is called by what was derived from it."""
    return part.name or f"part-{at}"
