"""Records whose content lies elsewhere: read side by side, answered in order, each within its allowance."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from moderation.errors import ItemError
from moderation.item import unfetchable
from moderation.stream.batch import Partition, Record
from moderation.stream.dead_letter import Stage, read_dead_letter
from moderation.stream.decider import InForce
from moderation.stream.envelope import read_item
from moderation.stream.intake import MOST_REFERENCES, Intake
from tests.unit.stream.test_decider import decider, told


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def refers(*references: str, offset: int = 0) -> Record:
    value = json.dumps({"id": f"item {offset}", "parts": [{"reference": one} for one in references]}).encode()
    return Record(Partition("in", 0), offset, 0, None, value, (), len(value))


def intake(fetch: Callable[[str], bytes], pool: ThreadPoolExecutor, *, most_bytes: int = 1000) -> Intake:
    return Intake(read_item, fetch, pool, at_once=4, most_bytes=most_bytes)


def test_references_are_fetched_side_by_side_and_answered_in_order(pool: ThreadPoolExecutor) -> None:
    together = threading.Barrier(4)

    def fetch(reference: str) -> bytes:
        together.wait(10)  # four at a time, or nobody gets on
        time.sleep(0.02 * (int(reference) % 4))
        return reference.encode()

    found = intake(fetch, pool)
    records = [refers(str(number), offset=number) for number in range(12)]
    items = list(found.each(found.read, records))
    assert [item and item.parts[0].content for item in items] == [str(number).encode() for number in range(12)]


def test_no_more_is_read_ahead_than_may_be_held(pool: ThreadPoolExecutor) -> None:
    asked: list[int] = []
    answers = intake(lambda _: b"", pool).each(lambda number: asked.append(number) or number, list(range(100)))
    assert [next(answers) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.1)
    assert len(asked) <= 3 + 4


@pytest.mark.parametrize(
    ("references", "cause"),
    [
        (["1234567890"] * 2, ""),
        (["1234567890"] * 2 + ["x"], "too_many_bytes"),
        (["x"] * MOST_REFERENCES, ""),
        (["x"] * (MOST_REFERENCES + 1), "too_many_references"),
    ],
)
def test_one_record_has_an_allowance(pool: ThreadPoolExecutor, references: list[str], cause: str) -> None:
    found = intake(str.encode, pool, most_bytes=20)
    for _ in range(2):  # each record its own
        if cause:
            with pytest.raises(ItemError) as caught:
                found.read(refers(*references))
            assert (caught.value.reason, caught.value.cause) == ("unfetchable", cause)
        else:
            assert len(found.read(refers(*references)).parts) == len(references)  # type: ignore[union-attr]


def content(reference: str) -> bytes:
    if reference == "gone":
        raise unfetchable("not_found", "https://cdn.test: status 404")
    return reference.encode()


def test_what_cannot_be_had_is_a_dead_letter_of_its_own_stage(pool: ThreadPoolExecutor) -> None:
    found = intake(content, pool)
    made = decider(read=found.read, each=found.each)
    nonsense = Record(Partition("in", 0), 3, 0, b"key", b"{nonsense", (), 9)
    records = [
        refers("0.95", offset=0),
        refers("gone", offset=1),
        refers("0.1", "gone", offset=2),
        nonsense,
        refers("0.1", offset=4),
    ]
    outputs = [one[0] for one in made.decide(records)]
    assert [one.topic for one in outputs] == ["decisions", "in.dlq", "in.dlq", "in.dlq", "decisions"]
    letters: list[Any] = [
        read_dead_letter(Record(Partition("d", 0), 0, 0, None, None, one.headers, 0)) for one in outputs[1:4]
    ]
    assert [(one.stage, one.cause) for one in letters] == [
        (Stage.FETCH, "not_found"), (Stage.FETCH, "not_found"), (Stage.DECODE, "not_json"),
    ]  # fmt: skip
    assert [told(outputs[place])["action"] for place in (0, 4)] == ["remove", "allow"]


def untimed(answers: Any) -> Any:
    return [
        [{name: value for name, value in one.items() if name != "timing"} for one in outputs] for outputs in answers
    ]


def test_a_batch_that_grows_too_large_is_decided_piece_by_piece(pool: ThreadPoolExecutor) -> None:
    sizes: list[int] = []
    pipeline = decider().in_force().pipeline

    class Watched:
        def decide(self, items: Any, *, ids: Any) -> Any:
            sizes.append(len(items))
            return pipeline.decide(items, ids=ids)

    found = intake(content, pool)
    made = decider(read=found.read, each=found.each, held_bytes=8, in_force=lambda: InForce(Watched(), "cafe"))
    records = [refers(f"0.{number:02d}", offset=number) for number in range(90, 95)]
    answers, whole = (
        [[told(one) for one in out] for out in one.decide(records)] for one in (made, decider(read=found.read))
    )
    assert untimed(answers) == untimed(whole)
    assert sizes == [2, 2, 1]
