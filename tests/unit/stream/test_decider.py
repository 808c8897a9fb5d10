"""One decision or one dead letter for each record, whatever it holds; and nothing too large for its topic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moderation import assemble
from moderation.decision import Decision
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.policy.lock import Lock
from moderation.settings import Settings
from moderation.stream.batch import Headers, Output, Partition, Record
from moderation.stream.dead_letter import PREFIX, Stage, read_dead_letter
from moderation.stream.decider import Decider, InForce, Topics, stream_decision_id
from moderation.stream.envelope import read_item
from tests.fakes import FakeEncoder, lock, plugins_with

TOPICS = Topics("decisions", "in.dlq", review="to-review", reviewed={"review"})
ORDER = Settings().actions


def record(
    value: bytes | None, *headers: tuple[str, bytes | None], offset: int = 7, key: bytes | None = b"author"
) -> Record:
    return Record(Partition("in", 2), offset, 1000, key, value, headers, len(value or b""))


def decider(*locks: Lock, live: bool = True, **changes: Any) -> Decider:
    embedders = {"default": Embedder(FakeEncoder(), MemoryCache(0))}
    pipeline: Any = assemble.pipeline(Settings(), locks or (lock(),), embedders=embedders, known=plugins_with())
    if live:
        policies = tuple(replace(one, terms=replace(one.terms, status="live")) for one in pipeline.running.policies)
        pipeline.running = replace(pipeline.running, policies=policies)
    made = Decider(
        lambda: InForce(pipeline, "cafe"), read_item, TOPICS, ORDER, worker="w-1", largest=1_000_000, clock=lambda: 5.0
    )
    return replace(made, **changes)


def picture(confidence: float) -> bytes:
    return str(confidence).encode()


IMAGE = ("content-type", b"image/png")


def told(output: Output) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(output.value or b"")
    return found


def test_every_record_is_answered_in_order() -> None:
    records = [
        record(picture(0.95), IMAGE, offset=1),
        record(b"nonsense", offset=2),
        record(picture(0.1), IMAGE, offset=3),
        record(None, offset=4),
        record(picture(0.72), IMAGE, offset=5),
        record(b"junk", IMAGE, offset=6),
    ]
    found = decider().decide(records)
    assert [[one.topic for one in outputs] for outputs in found] == [
        ["decisions"], ["in.dlq"], ["decisions"], ["decisions"], ["decisions", "to-review"], ["decisions", "to-review"],
    ]  # fmt: skip
    actions = [told(outputs[0])["action"] for outputs in found if outputs[0].topic == "decisions"]
    assert actions == ["remove", "allow", "allow", "review", "review"]
    assert told(found[5][0])["verdicts"][0]["error"] == "unsupported_input"
    assert told(found[3][0])["verdicts"] == []
    assert {one.key for outputs in found for one in outputs} == {b"author"}


def test_a_decision_can_be_read_back_and_says_where_its_record_lies() -> None:
    ((made,),) = decider().decide([record(picture(0.95), IMAGE)])
    decision = Decision.from_dict(told(made))
    assert decision.decision_id == stream_decision_id(record(b"anything else"))
    assert decision.decision_id != stream_decision_id(record(b"", offset=8))
    assert dict(made.headers) == {
        "content-type": b"application/json",
        "moderation.source.topic": b"in",
        "moderation.source.partition": b"2",
        "moderation.source.offset": b"7",
    }


def test_the_id_of_a_decision_hangs_on_the_place_alone() -> None:
    one, other = decider(lock()), decider(lock("blades"))
    given = [record(picture(0.95), IMAGE)]
    found = {told(each.decide(given)[0][0])["decision_id"] for each in (one, other)}
    assert found == {
        hashlib.sha256(b'["in", 2, 7]').hexdigest()[:32]
    }  # readers have kept it: a later version gives the same


def test_a_draft_asks_nobody_for_a_review() -> None:
    ((made,),) = decider(live=False).decide([record(picture(0.72), IMAGE)])
    assert (told(made)["action"], told(made)["proposed"]) == ("allow", "review")


def test_a_dead_letter_keeps_the_record_and_counts_attempts() -> None:
    first = record(b"nonsense", ("trace", b"1"))
    ((letter,),) = decider().decide([first])
    assert (letter.value, letter.key, letter.headers[0]) == (b"nonsense", b"author", ("trace", b"1"))
    again = Record(Partition("in", 0), 99, 2000, letter.key, letter.value, as_headers(letter), 0)
    ((second,),) = decider(clock=lambda: 9.0).decide([again])
    found = read_dead_letter(again._replace(headers=as_headers(second)))
    assert found is not None
    assert (found.attempts, found.first_failed_ms, found.offset, found.stage) == (2, 5000, 99, Stage.DECODE)
    assert (found.cause, found.revisions, found.worker) == ("not_json", "cafe", "w-1")


def as_headers(output: Output) -> Headers:
    return tuple((name, value) for name, value in output.headers)


def test_what_is_too_large_is_set_aside_and_what_is_still_too_large_is_pointed_at() -> None:
    small = decider(lock("w" * 200), largest=1000)  # a name that stands in the decision three times
    ((letter,),) = small.decide([record(picture(0.95), IMAGE)])
    assert (letter.topic, dict(letter.headers)[PREFIX + "stage"]) == ("in.dlq", b"publish")
    assert letter.value == picture(0.95)
    ((pointer,),) = small.decide([record(b"x" * 5000)])
    assert (pointer.value, dict(pointer.headers)[PREFIX + "size"]) == (None, b"5000")
    assert pointer.size <= 1000


def test_a_record_that_nearly_fills_its_brokers_limit_is_pointed_at_without_its_key() -> None:
    ((pointer,),) = decider(largest=2000).decide([record(b"nonsense", key=b"k" * 1900)])
    assert (pointer.key, pointer.value) == (None, b"")
    assert pointer.size <= 2000


def test_a_dead_letter_names_the_builds_that_were_in_force_when_its_batch_began() -> None:
    builds = iter([decider(lock("w" * 200)).in_force(), InForce(None, "later")])  # type: ignore[arg-type]
    reloading = replace(decider(largest=1000), in_force=lambda: next(builds))
    ((decode,), (publish,)) = reloading.decide([record(b"nonsense"), record(picture(0.95), IMAGE)])
    assert {dict(one.headers)[PREFIX + "revisions"] for one in (decode, publish)} == {b"cafe"}


def test_no_content_is_in_what_is_said_of_it() -> None:
    ((letter,),) = decider().decide([record(b'{"zebra": "zebra-content"}')])
    assert all(b"zebra" not in value for _, value in letter.headers)


def test_no_records_are_no_outputs() -> None:
    asked: list[Sequence[Any]] = []
    assert decider().decide([]) == asked == []
