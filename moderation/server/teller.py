"""Answers told by a thread of its own, so that the device begins with the next batch meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from queue import Full, Queue

from moderation.embedding.embedder import Embedder, Encoding
from moderation.embedding.prepared import Outcome, content_of
from moderation.errors import EncoderError
from moderation.server.costs import Kind
from moderation.server.ticket import Ticket, Waiting
from moderation.server.watched import Each

_MOST_UNTOLD = 4  # batches
Served = Sequence[tuple[Waiting, Sequence[Ticket]]]  # parts, and who waits for each
_log = logging.getLogger(__name__)


class Teller:
    """Tells batch after batch, in order."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._untold: Queue[Callable[[], object] | None] = Queue(_MOST_UNTOLD)
        self.thread = Each("tell", self._untold.get, lambda tells: tells(), clock=clock)
        self.thread.start()

    def tell(self, tells: Callable[[], object], *, later: bool) -> None:
        """Tell by this call, or by the thread: then it returns at once, unless many batches are untold, since a cache that is slower than the device slows it down."""
        if later:
            self._untold.put(tells)
        else:
            tells()

    def close(self, seconds: float) -> None:
        """Tell what is to be told, and end; wait so many seconds for that."""
        with suppress(Full):  # then it hangs, and is left behind
            self._untold.put(None, timeout=seconds)
            self.thread.join(seconds)


def remembered(embedder: Embedder, encoded: Encoding) -> dict[str, Outcome]:
    """What came of a batch's parts, by their keys, once it stands in the cache; each took its share of the batch's time."""
    parts = len(encoded.vectors) + len(encoded.errors)
    decode, encode = encoded.decode_seconds / parts, encoded.encode_seconds / parts
    outcomes = {key: Outcome(one, None, False, decode, encode) for key, one in embedder.remember(encoded).items()}
    return outcomes | {key: Outcome(None, error) for key, error in encoded.errors.items()}


def tell(served: Served, outcomes: EncoderError | Mapping[str, Outcome]) -> None:
    """Tell whoever waits for these parts what came of them, by their keys."""
    for one, tickets in served:
        for ticket in tickets:
            if isinstance(outcomes, EncoderError):
                ticket.fail(outcomes)
            else:
                ticket.step({content_of(one.kind.encoder, one.part): outcomes[one.key]})


def failed(kind: Kind, error: Exception) -> EncoderError:
    """What is told of a batch of this kind that failed as a whole."""
    _log.error("a batch failed: %s", type(error).__name__)
    return EncoderError(f"encoder {kind.encoder!r}: {type(error).__name__}")
