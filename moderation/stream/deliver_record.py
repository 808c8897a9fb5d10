"""A record of a decisions topic into what is sent of it, and into a dead letter where it ends as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pydantic_core import from_json

from moderation.decision import Delivery
from moderation.stream.batch import Output, Record
from moderation.stream.dead_letter import DeadLetter, Stage
from moderation.stream.deliver_lane import Ending, Entry

LONGEST_ID = 200  # characters
NOT_A_DECISION = Ending(
    "not_a_decision", "expected a JSON object with decision_id, an id in ASCII, and action, a name", 1
)


def read_entry(record: Record, actions: Collection[str] | None) -> Entry:
    """What is to be sent of a record: its decision, where its action is among `actions` (None: any); nothing of what is none."""
    try:
        decision = from_json(record.value or b"", allow_inf_nan=False)
    except ValueError:
        decision = None
    action = decision.get("action") if isinstance(decision, dict) else None
    if not (isinstance(action, str) and action and _is_id(decision.get("decision_id"))):
        return Entry(record, done=True, ending=NOT_A_DECISION)
    if actions is not None and action not in actions:
        return Entry(record, done=True)
    return Entry(record, Delivery(decision["decision_id"], decision, str(record.partition), record.timestamp_ms))


@dataclass(frozen=True, slots=True)
class Letters:
    """Makes dead letters of stage `deliver` for a topic, of `largest` bytes at most; `by` says who set them aside."""

    topic: str
    by: str
    largest: int
    clock: Callable[[], float] = time.time

    def of(self, record: Record, ending: Ending) -> Output:
        """The dead letter of a record that ended so."""
        letter = DeadLetter.about(
            record,
            Stage.DELIVER,
            ending.cause,
            ending.message,
            attempts=ending.attempts,
            worker=self.by,
            now_ms=round(1000 * self.clock()),
        )
        return letter.to_output(record, self.topic, largest=self.largest)


def _is_id(value: object) -> bool:
    """Ids stand in headers of what sinks send: ASCII that can be seen, and not much of it."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= LONGEST_ID
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )
