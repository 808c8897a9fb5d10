"""Records into outputs: one decision or one dead letter for each, in order, and a copy for review where its action asks for one."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from pydantic import TypeAdapter

from moderation.decision import Decision
from moderation.errors import ItemError
from moderation.item import UNFETCHABLE, ContentItem
from moderation.policy.decide import answer
from moderation.stream.batch import Output, Partition, Record
from moderation.stream.dead_letter import DeadLetter, Stage

EVENT = "moderation.decision.v1"  # the type of a decision as a CloudEvent
JSON = (("content-type", b"application/json"),)
_AS_JSON = TypeAdapter(Decision).serializer  # what `to_dict` has, in half the time

One = TypeVar("One")
Other = TypeVar("Other")


class Each(Protocol):
    """A function's answers on many things, in their order, as the built-in `map` gives them."""

    def __call__(self, function: Callable[[One], Other], things: Sequence[One], /) -> Iterator[Other]:
        """One answer for each thing."""
        ...


class Pipeline(Protocol):
    """What decides items."""

    def decide(self, items: Sequence[ContentItem], *, ids: Sequence[str]) -> Sequence[Decision]:
        """One decision for each item, in order, under these ids."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class InForce:
    """What decides until another takes its place, and the revisions of its builds, for dead letters."""

    pipeline: Pipeline
    revisions: str


@dataclass(frozen=True, slots=True)
class Topics:
    """Where outputs go: `review` gets a copy of each decision whose action is one of `reviewed`."""

    decisions: str
    dead_letters: str
    review: str = ""
    reviewed: Collection[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Decider:
    """Decides records. `read` makes an item of one, `order` names all actions by force; `in_force` is asked before every batch.

    With `event_source` decisions are CloudEvents in Kafka's binary mode, from this source. `each` reads several records at once where that
    takes time; as soon as items of `held_bytes` are read they are decided, and let go.
    No output is larger than `largest` bytes: a decision that would be becomes a dead letter, and a dead letter that would be a pointer.
    """

    in_force: Callable[[], InForce]
    read: Callable[[Record], ContentItem | None]
    topics: Topics
    order: Sequence[str]
    worker: str
    largest: int
    event_source: str = ""
    each: Each = map
    held_bytes: int = 64_000_000
    clock: Callable[[], float] = time.time

    def decide(self, records: Sequence[Record]) -> list[tuple[Output, ...]]:
        """What is to be published for each record, in order: never nothing."""
        in_force = self.in_force()  # once: what is decided, and said of it, is of one build
        found: dict[int, tuple[Output, ...]] = {}
        items: dict[int, ContentItem] = {}
        held = 0
        for place, item in enumerate(self.each(self._read, records)):
            record = records[place]
            if isinstance(item, ItemError):
                stage = Stage.FETCH if item.reason == UNFETCHABLE else Stage.DECODE
                found[place] = (self._letter(record, in_force, stage, item.cause or item.reason, str(item)),)
            elif item is None:
                found[place] = self._published(record, self._empty(record), in_force)
            else:
                items[place] = item
                held += sum(len(part.content) for part in item.parts)
            if held >= self.held_bytes:
                found |= self._decided(in_force, items, records)
                items, held = {}, 0
        found |= self._decided(in_force, items, records)
        return [found[place] for place in range(len(records))]

    def _read(self, record: Record) -> ContentItem | ItemError | None:
        try:
            return self.read(record)
        except ItemError as error:
            return error

    def _decided(
        self, in_force: InForce, items: Mapping[int, ContentItem], records: Sequence[Record]
    ) -> dict[int, tuple[Output, ...]]:
        ids = [stream_decision_id(records[place]) for place in items]
        made = in_force.pipeline.decide(list(items.values()), ids=ids) if items else ()
        return {place: self._published(records[place], one, in_force) for place, one in zip(items, made, strict=True)}

    def _empty(self, record: Record) -> Decision:
        """What is decided on nothing."""
        name = f"{record.partition}-{record.offset}"
        return answer(name, (), self.order, encoders={}, id_=stream_decision_id(record))

    def set_aside(self, record: Record, stage: Stage, cause: str, message: str, *, attempts: int = 1) -> Output:
        """The dead letter of a record; `attempts` are those of this worker's life, earlier ones are added."""
        return self._letter(record, self.in_force(), stage, cause, message, attempts=attempts)

    def _letter(
        self, record: Record, in_force: InForce, stage: Stage, cause: str, message: str, *, attempts: int = 1
    ) -> Output:
        letter = DeadLetter.about(
            record,
            stage,
            cause,
            message,
            attempts=attempts,
            worker=self.worker,
            now_ms=round(1000 * self.clock()),
            revisions=in_force.revisions,
        )
        return letter.to_output(record, self.topics.dead_letters, largest=self.largest)

    def _published(self, record: Record, decision: Decision, in_force: InForce) -> tuple[Output, ...]:
        value = _AS_JSON.to_json(decision)
        headers = (*JSON, *_source(record), *self._event(decision))
        made = Output(self.topics.decisions, value, key=record.key, headers=headers, decision=decision)
        if made.size > self.largest:
            told = f"its decision has {made.size} bytes"
            return (self._letter(record, in_force, Stage.PUBLISH, "too_large", told),)
        if self.topics.review and decision.action in self.topics.reviewed:
            return made, replace(made, topic=self.topics.review, decision=None)
        return (made,)

    def _event(self, decision: Decision) -> tuple[tuple[str, bytes], ...]:
        """What makes a CloudEvent of an output. No subject: an item's id may name a person, and headers are logged by others."""
        if not self.event_source:
            return ()
        time = dt.datetime.fromtimestamp(self.clock(), dt.UTC).isoformat(timespec="milliseconds")
        told = {
            "specversion": "1.0",
            "id": decision.decision_id,
            "source": self.event_source,
            "type": EVENT,
            "time": time,
        }
        return tuple((f"ce_{name}", value.encode()) for name, value in told.items())


def stream_decision_id(record: Record) -> str:
    """32 hex digits of the record's place: the same for every decision on it, under whichever policies, so that readers can drop a second one."""
    topic, _ = _source_headers(record.partition)
    return hashlib.sha256(f"[{topic}, {record.partition.number}, {record.offset}]".encode()).hexdigest()[:32]  # as JSON


def _source(record: Record) -> tuple[tuple[str, bytes], ...]:
    """Where the record lies that an output answers."""
    _, (topic, partition) = _source_headers(record.partition)
    return topic, partition, ("moderation.source.offset", b"%d" % record.offset)


@functools.lru_cache(maxsize=1024)  # the same for every record of a partition
def _source_headers(partition: Partition) -> tuple[str, tuple[tuple[str, bytes], tuple[str, bytes]]]:
    """The topic as JSON, and the headers that name topic and partition."""
    topic = ("moderation.source.topic", partition.topic.encode())
    return json.dumps(partition.topic), (topic, ("moderation.source.partition", b"%d" % partition.number))
