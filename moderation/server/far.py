"""The far cache, asked by a thread of its own: for all that came meanwhile at once, and what it has never waits for the device."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from moderation.embedding.embedder import Embedder
from moderation.embedding.prepared import Outcome, content_of
from moderation.encoder.base import Vectors
from moderation.errors import ItemError, OverloadedError
from moderation.item import Part
from moderation.server.costs import Kind
from moderation.server.ticket import Ticket
from moderation.server.watched import Each
from moderation.telemetry import places

Unknown = Mapping[Kind, Mapping[str, Part]]  # by kind and key
_Unseen = tuple[Ticket, Kind, Mapping[str, Part]]
_log = logging.getLogger(__name__)


class FarLook:
    """Looks parts up and lets only what is not there wait for the device, by `admit`, which may raise OverloadedError or ItemError.

    `of` gives a kind's embedder, `release` frees what a ticket waits for.
    """

    def __init__(
        self,
        of: Callable[[Kind], Embedder],
        *,
        admit: Callable[[Ticket, Unknown], None],
        release: Callable[[Ticket], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._of, self._admit, self._release = of, admit, release
        self._changed = threading.Condition()
        self._unseen: deque[_Unseen] = deque()
        self._closed = False
        self.thread = Each("lookup", self._all_unseen, self._answer, clock=clock)
        self.thread.start()

    def ask(self, ticket: Ticket, unknown: Unknown) -> None:
        """Look these up; the ticket has one step for each kind."""
        ticket.expect(len(unknown))
        with self._changed:
            self._unseen.extend((ticket, kind, parts) for kind, parts in unknown.items())
            self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Look up what was asked for, and end; one that hangs is left behind after so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.thread.join(seconds)

    def _all_unseen(self) -> list[_Unseen]:
        """All that is asked for by now, once there is something; none where nothing is, nor ever will be."""
        with self._changed:
            while not (self._unseen or self._closed):
                self._changed.wait()
            asked = list(self._unseen)
            self._unseen.clear()
            return asked

    def _answer(self, asked: Sequence[_Unseen]) -> None:
        for kind in {kind for _, kind, _ in asked}:
            waits = [(ticket, parts) for ticket, one, parts in asked if one == kind]
            try:
                self._look_up(kind, waits)
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                _log.error("a look into the far cache failed: %s", type(error).__name__, extra={"told": places(error)})
                for ticket, _ in waits:
                    ticket.fail(error)

    def _look_up(self, kind: Kind, waits: Sequence[tuple[Ticket, Mapping[str, Part]]]) -> None:
        embedder = self._of(kind)
        known = embedder.look_up(list({key: None for _, parts in waits for key in parts}), embedder.cache)
        for ticket, parts in waits:
            if not ticket.done.done():  # or nobody waits for it any more
                self._go_on(ticket, kind, parts, known)

    def _go_on(self, ticket: Ticket, kind: Kind, parts: Mapping[str, Part], known: Mapping[str, Vectors]) -> None:
        try:
            self._admit(ticket, {kind: {key: part for key, part in parts.items() if key not in known}})
        except (OverloadedError, ItemError) as error:
            ticket.fail(error)
            self._release(ticket)  # its parts of other kinds, too
        self._of(kind).count(hits=len(parts.keys() & known.keys()))
        ticket.step(
            {content_of(kind.encoder, parts[key]): Outcome(known[key], hit=True) for key in parts if key in known}
        )
