"""Turns at one thread: fair by what things cost, whoever came first, and predicted for whom there is little."""

from __future__ import annotations

import queue
import threading
from collections import Counter

import pytest

from moderation.server.turns import Turns


def filled(*, small: int = 1, weights: dict[str, float] | None = None) -> Turns[str]:
    turns: Turns[str] = Turns(weights or {})
    for number in range(40):
        turns.put(f"bulk {number}", caller="bulk", parts=4)
    for number in range(small):
        turns.put(f"shop {number}", caller="shop", parts=1)
    return turns


def test_who_comes_behind_a_crowd_of_anothers_is_next_but_one() -> None:
    turns = filled()
    assert [turns.get() for _ in range(3)] == ["bulk 0", "shop 0", "bulk 1"]


@pytest.mark.parametrize(("weight", "share"), [(1.0, 1), (3.0, 3)])
def test_callers_share_parts_by_weight_not_things(weight: float, share: int) -> None:
    turns = filled(small=200, weights={"shop": weight})
    taken = [turns.get() or "" for _ in range(60)]
    parts = Counter({"bulk": 0, "shop": 0})
    for one in taken:
        parts[one.split()[0]] += 4 if one.startswith("bulk") else 1
    assert parts["shop"] == pytest.approx(share * parts["bulk"], abs=4 * share + 4)


def test_little_of_a_caller_is_predicted_by_its_share_and_much_by_all_that_waits() -> None:
    turns = filled()
    assert turns.ahead("third", 1) == 3
    assert turns.ahead("bulk", 4) == 165
    assert (turns.qsize(), turns.of("bulk"), turns.of("third")) == (41, 40, 0)
    alone: Turns[str] = Turns({})
    assert alone.ahead("bulk", 7) == 7


def test_who_had_much_is_predicted_to_wait_for_others_to_have_as_much() -> None:
    turns: Turns[str] = Turns({"little": 0.1})
    turns.put("l", caller="little", parts=4)
    assert turns.get() == "l"
    turns.put("shop", caller="shop", parts=1)
    assert turns.ahead("little", 1) == 40 + 11
    assert turns.ahead("third", 1) == 2


def test_who_waits_is_given_what_comes_and_nothing_once_it_is_closed() -> None:
    turns: Turns[str] = Turns({})
    got: list[str | None] = []
    waiting = threading.Thread(target=lambda: got.extend([turns.get(), turns.get(), turns.get()]))
    waiting.start()
    turns.put("a", caller="", parts=1)
    turns.put("b", caller="", parts=1)
    turns.close()
    waiting.join(20)
    assert got == ["a", "b", None]
    with pytest.raises(queue.Empty):
        turns.get_nowait()
    turns.put("c", caller="", parts=1)
    assert (turns.get_nowait(), turns.get()) == ("c", None)  # what comes late all the same is not lost
