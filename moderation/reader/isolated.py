"""A reader in a process of its own, as a detector may have one: native code that reads strangers' bytes is best kept there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moderation.detector.base import DetectionBatch
from moderation.detector.faults import ERROR, READER_ERROR, READER_TIMEOUT, TIMEOUT, FaultError
from moderation.detector.isolated import IsolatedUnit
from moderation.detector.life import SETUP_SECONDS
from moderation.detector.wire import ReaderDescription, encode_batch
from moderation.item import Part
from moderation.plugin_sections import ReaderSettings
from moderation.reader.base import Reading
from moderation.reader.wire import decode_readings, most_bytes, most_told

_REASONS = {ERROR: READER_ERROR, TIMEOUT: READER_TIMEOUT}  # what befell a process, as it is called of a reader


class IsolatedReader(IsolatedUnit):
    """Reads there; `revision` is what it said once it was set up, and with its last answers."""

    def __init__(self, described: ReaderDescription, command: Sequence[str], **started: Any) -> None:
        super().__init__(command, **started)
        self.id, self.reads, self.yields = described.id, described.reads, described.yields
        self.crops, self.revision = described.crops, described.revision

    def setup(self) -> None:
        """As every unit's."""
        self.revision = next((one.revision for one in self._greeted().readers if one.id == self.id), "")

    def read(
        self, parts: tuple[Part, ...], *, seconds: float = SETUP_SECONDS, limits: ReaderSettings | None = None
    ) -> Sequence[Reading]:
        """Its readings, unchecked: what is none at all is WRONG. Raises as a detector's `detect` does."""
        bounds = limits or ReaderSettings()
        most = bounds.most_parts, bounds.most_bytes, bounds.most_batch_bytes
        try:
            with self._ready(seconds) as (process, deadline):
                process.send(encode_batch(DetectionBatch(parts), limits=most), deadline)
                frame = process.receive(most_bytes(len(parts), most), deadline)
                readings, self.revision = decode_readings(frame, most_told(len(parts), most))
                return readings
        except FaultError as fault:
            raise FaultError(_REASONS.get(fault.reason, fault.reason), fault.cause) from None
