"""Every record of a place counted at the end, as a reader of what is committed sees them: was each answered, once, by its own answer, the right one, in order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from moderation.stream.dead_letter import PREFIX
from tests.stream.place import POISON, Place

REVIEW, REMOVE = 0.71, 0.93  # where the build of tests.fakes scores 0.5 and 0.9
KINDS = {"decisions": "moderation.source.", "dlq": PREFIX}


@dataclass(frozen=True, slots=True)
class Tally:
    """Records that were written, and their answers.

    `strayed` are decisions on another item than their record's, `disordered` answers that stand before an earlier one of their partition,
    `wrong` are decisions that do not follow from the record's own number, and dead letters of records that deserve none.
    """

    records: int
    decisions: int
    letters: int
    lost: int
    repeated: int
    strayed: int
    disordered: int
    wrong: int

    @property
    def whole(self) -> bool:
        """Whether every record has one answer, its own, in its turn."""
        return not (self.lost or self.repeated or self.strayed or self.disordered or self.wrong)


def tally(place: Place, *, doomed: Collection[bytes] = ()) -> Tally:
    """The count of everything; it is printed, for whoever keeps the books of a long run. `doomed` are good records that kill whoever tries them."""
    place.settle()
    given = {(one.partition, one.offset): one.value for one in place.read_topic(place.input)}
    assert len(given) == place.fed
    answers = {kind: [(_source(one, prefix), one) for one in place.read(kind)] for kind, prefix in KINDS.items()}
    found = Counter(source for of_kind in answers.values() for source, _ in of_kind)
    assert found.keys() <= given.keys()
    counted = Tally(
        records=len(given),
        decisions=len(answers["decisions"]),
        letters=len(answers["dlq"]),
        lost=len(given) - len(found),
        repeated=found.total() - len(found),
        strayed=sum(not _own(given[source], json.loads(one.value)["item_id"]) for source, one in answers["decisions"]),
        disordered=sum(_disordered(of_kind) for of_kind in answers.values()),
        wrong=sum(not _right(given[source], json.loads(one.value)) for source, one in answers["decisions"])
        + sum(given[source] not in {*POISON, *doomed} for source, _ in answers["dlq"]),
    )
    print(counted)
    return counted


def _source(answer: Any, prefix: str) -> tuple[int, int]:
    told = dict(answer.headers)
    return int(told[prefix + "partition"]), int(told[prefix + "offset"])


def _own(value: bytes | None, item_id: str) -> bool:
    """Whether a good record has this item; what is no good record may be called anything."""
    if value is None or not value.startswith(b'{"id": "item '):
        return True
    return bool(json.loads(value)["id"] == item_id)


def _right(value: bytes | None, decision: Mapping[str, Any]) -> bool:
    """Whether the policy `weapons` asks for what a text's own number, its cosine to the violating phrase, says."""
    verdict = next((one for one in decision["verdicts"] if one["policy"] == "weapons"), None)
    if value is None or verdict is None or verdict["error"]:
        return value is None  # a tombstone shows nothing, and anything else is judged
    number = float(json.loads(value)["text"])
    wanted = "remove" if number >= REMOVE else "review" if number >= REVIEW else None
    return bool(verdict["action"] == wanted)


def _disordered(answers: list[tuple[tuple[int, int], Any]]) -> int:
    last: dict[tuple[int, int], int] = {}
    count = 0
    for (partition, offset), one in answers:
        count += offset < last.get((one.partition, partition), -1)
        last[one.partition, partition] = offset
    return count
