"""What comes about next, as far as the queue can say without asking for it."""

from __future__ import annotations

import pytest

from moderation.item import Modality, Part
from moderation.server.costs import Kind
from moderation.server.fair import FairQueue
from moderation.server.ticket import Waiting

KIND = Kind("default", Modality.IMAGE)


TEXTS = Kind("default", Modality.TEXT)


def waiting(caller: str, name: str, kind: Kind = KIND) -> Waiting:
    return Waiting(name, Part.text(name), kind, caller, [])


def test_what_comes_soon_is_the_oldest_of_each_caller_in_turn_and_stays_where_it_is() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0)
    for name in ("a1", "a2", "a3", "b1"):
        queue.push(waiting(name[0], name))
    assert [one.key for one in queue.soon(3)] == ["a1", "b1", "a2"]
    assert [one.key for one in queue.soon(9)] == ["a1", "b1", "a2", "a3"]
    assert queue.soon(0) == []
    assert len(queue) == 4
    taken = [one.key for one in (queue.pop() for _ in range(4)) if one]
    assert sorted(taken) == ["a1", "a2", "a3", "b1"]
    assert queue.soon(2) == []


def test_who_fills_up_a_batch_moves_nobodys_turn() -> None:
    """Beside one that always wants pictures, and one of little weight that always wants texts, a text now and then waits for two batches or three."""
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0, {"little": 0.03})
    for number in range(64):
        queue.push(waiting("pictures", f"p{number}"))
        queue.push(waiting("little", f"l{number}", TEXTS))
    waits = []
    for batch in range(200):
        first = queue.pop()
        taken = [first]
        while len(taken) < 32 and first and (one := queue.pop(first.kind)):
            taken.append(one)
        for one in taken:
            if one and one.caller == "texts":
                waits.append(batch - int(one.key[1:]))
            elif one:
                queue.push(one)
        if batch % 5 == 0:  # while this batch runs
            queue.push(waiting("texts", f"t{batch}", TEXTS))
    assert len(waits) == 40
    assert max(waits) <= 3


def test_who_had_more_than_its_share_waits_for_others_to_have_as_much() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0, {"little": 0.1})
    queue.push(waiting("little", "l"))
    queue.push(waiting("usual", "u"))
    assert queue.lag("little") == 0.0
    while queue.pop():
        pass
    queue.push(waiting("usual", "v"))
    assert queue.lag("little") > 5.0
    assert queue.lag("usual") <= 1.0


@pytest.mark.parametrize("before", [0, 1])
def test_who_wanted_nothing_for_a_while_has_no_claim_on_that_time(before: int) -> None:
    """Neither who comes for the first time, nor who had something `before`."""
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0)
    for _ in range(before):
        queue.push(waiting("b", "b"))
        queue.pop()
    for number in range(30):
        queue.push(waiting("a", f"a{number}"))
    for _ in range(20):
        queue.pop()
    for number in range(10):
        queue.push(waiting("b", f"b{number}"))
    taken = [one.caller for one in (queue.pop() for _ in range(10)) if one]
    assert taken.count("b") == 5


def test_what_was_popped_in_vain_gives_its_caller_no_claim() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0, {"heavy": 4.0})
    for number in range(20):
        queue.push(waiting("heavy", f"h{number}"))
        queue.push(waiting("usual", f"u{number}"))
    for _ in range(10):
        one = queue.pop()
        assert one
        assert one.caller == "heavy"
        queue.refund(one)
    assert [one.caller for one in (queue.pop() for _ in range(5)) if one].count("usual") == 1


def test_what_a_caller_had_counts_though_its_line_ran_empty() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0, {"little": 0.1})
    queue.push(waiting("little", "l0"))
    queue.push(waiting("usual", "u0"))
    assert {one.key for one in (queue.pop(), queue.pop()) if one} == {"l0", "u0"}
    queue.push(waiting("little", "l1"))
    for number in range(1, 6):
        queue.push(waiting("usual", f"u{number}"))
    assert [one.key for one in (queue.pop() for _ in range(6)) if one][-1] == "l1"


def test_the_oldest_of_a_caller_is_next_of_whatever_kind_it_is() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0)
    for number, kind in enumerate((KIND, TEXTS, KIND)):
        queue.push(waiting("a", str(number), kind))
    queue.discard(queue.soon(1)[0])
    assert [one.key for one in (queue.pop(), queue.pop()) if one] == ["1", "2"]


def test_what_large_ones_take_beside_is_gone_with_them() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0)
    ones = [waiting("a", str(number)) for number in range(3)]
    for number, one in enumerate(ones):
        one.extra = 0.5 + number
        queue.push(one)
    assert (queue.held.extra, queue.of("a").extra, queue.of("b").extra) == (4.5, 4.5, 0.0)
    queue.pop()
    queue.discard(ones[2])
    assert (queue.held.extra, queue.of("a").extra, queue.held.bytes) == (1.5, 1.5, 1)
    queue.pop()
    assert (queue.held.extra, queue.of("a").extra, len(queue), queue.held.bytes) == (0.0, 0.0, 0, 0)
    assert list(queue.held.kinds) == [], "a kind may be a build, which is not held once nothing of it waits"


def test_a_lag_is_what_all_others_have_before_it_is_ones_turn() -> None:
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0, {"little": 0.1, "heavy": 3.0})
    queue.push(waiting("little", "l"))
    queue.pop()  # has had ten seconds by its weight, where nobody had anything
    queue.push(waiting("usual", "u"))
    assert queue.lag("little") == 10.0
    queue.push(waiting("heavy", "h"))
    assert queue.lag("little") == 40.0
    assert queue.share("little") == 0.1 / 4.1
    assert queue.share("heavy") == 0.75


def taken_all(queue: FairQueue[Waiting], caller: str, *, most: float, most_bytes: float) -> int:
    """How many a caller has waiting that takes all it gets, five bytes each."""
    while queue.has_room(caller, 1, 5, most=most, most_bytes=most_bytes):
        queue.push(waiting(caller, "12345"))
    return queue.of(caller).count


@pytest.mark.parametrize(("most", "most_bytes"), [(100, 10**6), (10**6, 500)])
def test_of_several_callers_who_takes_all_it_gets_leaves_room_for_who_comes(most: int, most_bytes: int) -> None:
    bounds = {"most": most, "most_bytes": most_bytes}
    queue: FairQueue[Waiting] = FairQueue(lambda _: 1.0, dict.fromkeys("abc", 1.0))
    for least in (0, 1):  # what is gone counts no more, whether or not it was the caller's last
        for _ in range(500):
            queue.push(waiting("a", "12345"))
            if len(queue) > least:
                queue.pop()
        assert queue.has_room("a", 70, 350, **bounds)
    queue.pop()
    assert [taken_all(queue, one, **bounds) for one in "abc"] == [80, 16, 4]
    while queue.pop(of="a"):
        pass
    assert [taken_all(queue, one, **bounds) for one in "ab"] == [64, 26]
    alone: FairQueue[Waiting] = FairQueue(lambda _: 1.0, {"a": 2.0})
    assert taken_all(alone, "a", **bounds) == 100  # there is nobody to leave it to
