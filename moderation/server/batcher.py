"""What stands before the encoders: parts wait for the device, never for a timer, and those that could not make their deadline are refused at once.

One thread runs the device. The moment it is free it takes what waits, as much as fits a batch, fairly between callers by what their parts cost.
Content that is asked for twice is encoded once; content that is remembered does not wait at all.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from moderation.embedding.cache import EmbeddingCache
from moderation.embedding.embedder import Alone, Embedder, Encoding
from moderation.embedding.prepared import Outcome, content_of
from moderation.errors import EncoderError, ItemError, OverloadedError
from moderation.item import Part
from moderation.server.costs import Costs, Kind
from moderation.server.fair import FairQueue
from moderation.server.far import FarLook
from moderation.server.forecast import Forecast
from moderation.server.light import Light
from moderation.server.teller import Teller, failed, remembered, tell
from moderation.server.ticket import Found, Ticket, Waiting
from moderation.server.watched import STALLED, Watched

LARGEST = 32  # parts of a batch
SURE = 0.85  # of a deadline may be spent on waiting and encoding, as predicted
_BROKEN = 10.0  # seconds after a batch on which the encoder failed altogether
_SOON, _LATE = 0.05, 120.0  # seconds that a refused caller is told to stay away: clients obey no longer ones

_Key = tuple[Kind, str]  # two encoders may be one, and keep vectors under one key: each name is answered for itself


class Batcher:
    """Parts in, vectors out, by a device that runs one batch at a time. Safe to call from several threads.

    `embedders` by the encoder's name, and `near` is the part of their cache that answers at once; `far` whether there is another one.
    At most `most_parts` parts and `most_bytes` bytes wait. A caller's share of the device is its weight among those that want it.
    """

    def __init__(
        self,
        embedders: Mapping[str, Embedder],
        costs: Costs,
        *,
        near: EmbeddingCache,
        far: bool = False,
        most_parts: int = 10_000,
        most_bytes: int = 500_000_000,
        largest: int = LARGEST,
        weights: Mapping[str, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.embedders, self._costs, self._near = dict(embedders), costs, near
        self._alone = {name: Alone.of(one) for name, one in embedders.items()}
        self._most_parts, self.most_bytes, self._largest, self._clock = most_parts, most_bytes, largest, clock
        self._lock = threading.RLock()
        self._changed = threading.Condition(
            self._lock
        )  # as the device sees it; entering one is slower than entering its lock
        self.weights = {} if weights is None else weights  # which may change
        self._queue: FairQueue[Waiting] = FairQueue(lambda one: self.forecast.each(one.kind) + one.extra, self.weights)
        self.forecast = Forecast(costs, self._queue, largest=largest, clock=clock)
        self._light = Light(self._queue.weight, clock)
        self._waiting: dict[_Key, Waiting] = {}  # queued or running
        self._closed = self._ending = False  # nothing new is taken; nothing new will come
        self._broken = -math.inf  # when the encoder failed on everything, unless it did better since
        self.dropped = self.batches = self.encoded = 0
        self._device = Watched("device", self._run, clock=clock)
        self._teller = Teller(clock)
        self._far = FarLook(self._of, admit=self._admit, release=self._release, clock=clock) if far else None
        self._device.start()

    @property
    def waiting(self) -> tuple[int, int]:
        """Parts that wait for the device, and their bytes."""
        return self._queue.held.count, self._queue.held.bytes

    @property
    def threads(self) -> list[Watched]:
        """Who works here: tells, looks up, and runs the device."""
        return [self._teller.thread, *([self._far.thread] if self._far else []), self._device]

    @property
    def state(self) -> str:
        """`working`, `broken` for a while after the encoder failed on everything, or `stopping`."""
        # Not for ever: who is told so asks no more, and it could not show itself well.
        broken = self._clock() - self._broken < _BROKEN
        return "stopping" if self._closed else "broken" if broken else "working"

    def ask(
        self,
        wanted: Mapping[str, Iterable[Part]],
        *,
        caller: str = "",
        seconds: float,
        whole: float | None = None,
        alone: bool = False,
    ) -> Ticket:
        """Vectors of parts, by the encoder's name, within so many seconds of the `whole` that their request had; `alone`, each made by itself.

        What is remembered near at hand is there when this returns, and so is the error of a part for which the encoder has no tower. Raises
        OverloadedError where the device could not be done in time, ItemError where it never could; where
        that turns out only after a look into the far cache, the ticket raises it.
        """
        ticket = Ticket(caller, self._clock() + seconds, seconds if whole is None else whole)
        by_kind: dict[Kind, dict[str, Part]] = {}
        found: Found = {}
        for encoder, parts in wanted.items():
            embedder = self._alone[encoder] if alone else self.embedders[encoder]
            for part in parts:
                if refused := embedder.refusal(part):
                    found[content_of(encoder, part)] = Outcome(None, refused)
                else:
                    by_kind.setdefault(Kind(encoder, part.modality, alone), {})[embedder.key(part)] = part
        ticket.expect(1)
        recalled = ((kind, self._recall(kind, parts, found)) for kind, parts in by_kind.items())
        unknown = {kind: parts for kind, parts in recalled if parts}
        with self._lock:
            if unknown:
                self._check_open()
            if self._far and unknown:
                self._far.ask(ticket, unknown)
            else:
                self._admit(ticket, unknown)
        ticket.step(found)
        return ticket

    def _check_open(self) -> None:
        """Asked under the lock: what is queued behind a thread that ended would wait for ever."""
        if self._closed:
            raise OverloadedError("it is shutting down", after_seconds=_SOON)

    def _of(self, kind: Kind) -> Embedder:
        return self._alone[kind.encoder] if kind.alone else self.embedders[kind.encoder]

    def leave(self, ticket: Ticket) -> None:
        """Nobody waits for this ticket any more: what was queued for it alone is not begun."""
        ticket.done.cancel()
        self._release(ticket)

    def _release(self, ticket: Ticket) -> None:
        with self._lock:
            for one in [one for one in ticket.waits if ticket in one.tickets]:
                one.tickets.remove(ticket)
                if not one.tickets and one.queued:
                    self._queue.discard(one)
                    del self._waiting[one.kind, one.key]
                    self.dropped += 1

    def close(self) -> None:
        """Take nothing more, finish what waits, and end; a device that hangs is left behind."""
        with self._lock:
            self._closed = True
        if self._far:
            self._far.close(STALLED)  # what is still looked up may yet want the device
        with self._lock:
            self._ending = True
            self._changed.notify_all()
        self._device.join(STALLED)
        if not self._device.is_alive():
            self._teller.close(STALLED)

    def _recall(self, kind: Kind, parts: Mapping[str, Part], found: Found) -> Mapping[str, Part]:
        """Add what is near at hand; gives the parts that are not."""
        known = self._of(kind).look_up(list(parts), self._near)
        if not known:  # as of all that is new
            return parts
        self._of(kind).count(hits=len(known))
        found.update((content_of(kind.encoder, parts[key]), Outcome(vector, hit=True)) for key, vector in known.items())
        return {key: part for key, part in parts.items() if key not in known}

    def _admit(self, ticket: Ticket, unknown: Mapping[Kind, Mapping[str, Part]]) -> None:
        """Let parts wait for the device. Raises OverloadedError, and then nothing of them waits."""
        new: list[Waiting] = []
        known: list[Waiting] = []
        with self._lock:
            now = self._clock()
            for kind, parts in unknown.items():
                for key, part in parts.items():
                    if one := self._waiting.get((kind, key)):
                        known.append(one)
                    else:
                        extra = self._costs.added(kind, part)
                        new.append(Waiting(key, part, kind, ticket.caller, [], extra=extra, since=now))
            self._check(ticket, new, [one for one in known if one.queued])
            ticket.expect(len(new) + len(known))
            for kind, parts in unknown.items():
                self._of(kind).count(misses=len(parts))
            prepares = len(self._queue) < self._largest  # or `_run` will, when their turn is near
            for one in new:
                if prepares:
                    self._of(one.kind).prepare([one.part])
                self._waiting[one.kind, one.key] = one
                self._queue.push(one)
            for one in known:
                if one.queued and self._sooner(ticket.caller, one.caller):
                    self._queue.discard(one)
                    one.caller = ticket.caller
                    self._queue.push(one)
            for one in (*new, *known):
                one.tickets.append(ticket)
                ticket.waits.append(one)
            self._changed.notify()

    def _sooner(self, caller: str, other: str) -> bool:
        """Whether a part that another caller queued first comes sooner in this one's line, so that it need not wait for what the other has."""
        return caller != other and self._queue.of(caller).count < self._queue.of(other).count

    def _check(self, ticket: Ticket, new: Sequence[Waiting], queued: Sequence[Waiting]) -> None:
        """Who waits for what another one `queued` is charged for it, too: it may have to wait as long."""
        waits = [*new, *queued]
        if not waits:
            return
        counts = Counter(one.kind for one in waits)
        size, extra = sum(one.size for one in new), sum(one.extra for one in waits)
        usual = sum(self._costs.usual(kind, count) for kind, count in counts.items()) + extra
        if len(new) > self._most_parts or size > self.most_bytes or ticket.whole < usual:
            why = f"it takes {usual:.2f} s alone, of {ticket.whole:.2f}: fewer parts, or a longer deadline"
            raise ItemError("too_much", why, cause="too_much")
        left, bounds = ticket.deadline - self._clock(), {"most": self._most_parts, "most_bytes": self.most_bytes}
        full = not self._queue.has_room(ticket.caller, len(new), size, **bounds)
        wait = self.forecast.ahead(ticket.caller, counts, extra)
        if full or wait > SURE * left:
            why = "too much waits" if full else f"it would take {wait:.2f} s, and {max(0.0, left):.2f} are left"
            again = self.forecast.drain() / 2 if full else wait - SURE * left
            raise OverloadedError(why, after_seconds=min(_LATE, max(_SOON, again)))

    def _take(self) -> list[Waiting]:
        """The next batch: of the kind that is first in turn. What would come too late is not begun."""
        taken: list[Waiting] = []
        if not self._queue:
            return taken
        now = self._clock()
        self.forecast.light = self._light.callers(self._queue.callers)
        while one := self._next(taken):
            one.queued = False
            for ticket in [ticket for ticket in one.tickets if ticket.deadline < now]:
                one.tickets.remove(ticket)
                ticket.fail(OverloadedError("its deadline passed while it waited", after_seconds=_SOON))
            if one.tickets:
                taken.append(one)
            else:
                del self._waiting[one.kind, one.key]
                self._queue.refund(one)
                self.dropped += 1
        return taken

    def _next(self, taken: Sequence[Waiting]) -> Waiting | None:
        """Who is next, or next to join a batch, if anybody is to."""
        if not taken:
            return self._queue.pop()
        kind = taken[0].kind
        if self.forecast.joins(taken):
            return self._queue.pop(kind)
        return self._queue.pop(kind, of=self.forecast.light) if self.forecast.joins(taken, light=True) else None

    def _run(self) -> None:
        batch = self._begin()
        while batch:
            batch = self._encode(batch[0].kind, batch)
            if not batch:  # and so nothing of the one before is held while there is none
                batch = self._begin()

    def _begin(self, *, waits: bool = True) -> list[Waiting]:
        """The batch that runs from now on; none where nothing is to come, or nothing is there and it `waits` for nothing."""
        with self._lock:
            while not (batch := self._take()):
                if self._ending or not waits:
                    self._device.begins()  # with telling
                    return []
                self._device.rests()
                self._changed.wait()
            self._device.begins(self.forecast.began(batch[0].kind, batch))
            for one in (*batch, *self._queue.soon(self._largest)):  # who come next are decoded beside these
                self._of(one.kind).prepare([one.part])
            return batch

    def _encode(self, kind: Kind, batch: Sequence[Waiting]) -> list[Waiting]:
        """Run a batch; gives the next one, which is taken before anybody is told of this one, since the device has nothing to do meanwhile."""
        began = self._clock()
        encoded: Encoding | EncoderError
        try:
            encoded = self._of(kind).encode({one.key: one.part for one in batch})
        except EncoderError as error:
            encoded = error
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            encoded = failed(kind, error)
        with self._lock:
            took = self._clock() - began
            self._costs.took(kind, len(batch), took, sum(one.extra for one in batch))
            self._light.had([one.caller for one in batch], took / len(batch), self._queue.callers)
            self.forecast.ended()
            self._broken = self._clock() if isinstance(encoded, EncoderError) else -math.inf
            self.batches, self.encoded = self.batches + 1, self.encoded + len(batch)
        following = self._begin(waits=False)
        # Later where the device would stand still meanwhile, or who comes next would wait for a cache that is far.
        self._teller.tell(partial(self._tell, kind, batch, encoded), later=bool(following or self._far))
        return following

    def _tell(self, kind: Kind, batch: Sequence[Waiting], encoded: Encoding | EncoderError) -> None:
        """Remember what was made, and tell whoever waits for it: till then, who asks for the same waits with them."""
        try:
            outcomes = encoded if isinstance(encoded, EncoderError) else remembered(self._of(kind), encoded)
        except Exception as error:  # noqa: BLE001 - the next batch is told, too
            outcomes = failed(kind, error)
        with self._lock:
            served = [(one, one.tickets) for one in batch]
            for one in batch:
                del self._waiting[one.kind, one.key]
                one.tickets = []  # who leaves from here on is not in what is gone through; and no part holds its tickets any more
        tell(served, outcomes)
