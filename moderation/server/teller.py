"""Answers told by a thread of its own, so that the device begins with the next batch meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from queue import SimpleQueue

from moderation.embedding.prepared import Outcome, content_of
from moderation.errors import EncoderError
from moderation.server.ticket import Ticket, Waiting

Served = Sequence[tuple[Waiting, Sequence[Ticket]]]  # parts, and who waits for each


class Teller:
    """Tells batch after batch, in order."""

    def __init__(self) -> None:
        self._untold: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="tell", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def later(self, served: Served, outcomes: EncoderError | Mapping[str, Outcome]) -> None:
        """Tell them soon; returns at once."""
        self._untold.put(partial(tell, served, outcomes))

    def close(self, seconds: float) -> None:
        """Tell what is to be told, and end; wait so many seconds for that."""
        self._untold.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while told := self._untold.get():
            told()
            del told  # or it would be held until there is another


def tell(served: Served, outcomes: EncoderError | Mapping[str, Outcome]) -> None:
    """Tell whoever waits for these parts what came of them, by their keys."""
    for one, tickets in served:
        for ticket in tickets:
            if isinstance(outcomes, EncoderError):
                ticket.fail(outcomes)
            else:
                ticket.step({content_of(one.kind.encoder, one.part): outcomes[one.key]})
