"""What comes about next, as far as the queue can say without asking for it."""

from __future__ import annotations

from moderation.item import Modality, Part
from moderation.server.costs import Kind
from moderation.server.fair import FairQueue
from moderation.server.ticket import Waiting

KIND = Kind("default", Modality.IMAGE)


def waiting(caller: str, name: str) -> Waiting:
    return Waiting(name, Part.text(name), KIND, caller, [])


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
