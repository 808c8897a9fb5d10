"""Turns at one thread: fair by what things cost, whoever came first, and predicted for whom there is little."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from moderation.item import Modality
from moderation.server.turns import Turns
from tests.unit.server.test_batcher import until

SECONDS = {Modality.IMAGE: 1.0, Modality.VIDEO: 100.0}  # of a part


def turns_of(weights: dict[str, float] | None = None) -> Turns[str]:
    return Turns(weights or {}, lambda parts: sum(SECONDS[one] * count for one, count in parts.items()))


def pictures(count: int) -> Counter[Modality]:
    return Counter({Modality.IMAGE: count})


def taken(turns: Turns[str], seconds: float) -> str:
    """What was next, and took so long."""
    one = turns.get() or ""
    turns.charge(one.split()[0], seconds)
    return one


def filled(*, small: int = 1, weights: dict[str, float] | None = None) -> Turns[str]:
    turns = turns_of(weights)
    for number in range(40):
        turns.put(f"bulk {number}", caller="bulk", parts=pictures(4))
    for number in range(small):
        turns.put(f"shop {number}", caller="shop", parts=pictures(1))
    return turns


def test_who_comes_behind_a_crowd_of_anothers_is_next_but_one() -> None:
    turns = filled()
    assert [taken(turns, 1.0) for _ in range(3)] == ["bulk 0", "shop 0", "bulk 1"]


@pytest.mark.parametrize(("weight", "share"), [(1.0, 1), (3.0, 3)])
def test_callers_share_seconds_by_weight_not_things(weight: float, share: int) -> None:
    turns = filled(small=200, weights={"shop": weight})
    seconds = Counter({"bulk": 0, "shop": 0})
    for _ in range(60):
        one = turns.get() or ""
        took = 4 if one.startswith("bulk") else 1
        turns.charge(one.split()[0], took)
        seconds[one.split()[0]] += took
    assert seconds["shop"] == pytest.approx(share * seconds["bulk"], abs=4 * share + 4)


def test_who_sends_what_takes_long_has_fewer_turns_of_as_many_parts() -> None:
    turns = turns_of()
    for number in range(200):
        turns.put(f"films {number}", caller="films", parts=Counter({Modality.VIDEO: 1}))
        turns.put(f"shop {number}", caller="shop", parts=pictures(1))
    seconds = {"films": 0.0, "shop": 0.0}
    for _ in range(200):
        one = turns.get() or ""
        caller = one.split()[0]
        took = 5.0 if caller == "films" else 0.05
        turns.charge(caller, took)
        seconds[caller] += took
    assert seconds["films"] == pytest.approx(seconds["shop"], abs=5.0)
    assert seconds["shop"] > 0


def test_little_of_a_caller_is_predicted_by_its_share_and_much_by_all_that_waits() -> None:
    turns = filled()
    assert turns.ahead("third", pictures(1)) == 3
    assert turns.ahead("bulk", pictures(4)) == 165
    assert (turns.qsize(), turns.of("bulk"), turns.of("third")) == (41, 40, 0)
    alone = turns_of()
    assert alone.ahead("bulk", pictures(7)) == 7


def test_who_had_much_is_predicted_to_wait_for_others_to_have_as_much() -> None:
    turns = turns_of({"little": 0.1})
    turns.put("l", caller="little", parts=pictures(4))
    assert turns.get() == "l"
    turns.charge("little", 4.0)
    turns.put("shop", caller="shop", parts=pictures(1))
    assert turns.ahead("little", pictures(1)) == 40 + 11
    assert turns.ahead("third", pictures(1)) == 2


def test_who_waits_is_given_what_comes_and_nothing_once_it_is_closed() -> None:
    turns = turns_of()
    got: list[str | None] = []
    waiting = threading.Thread(target=lambda: got.extend(iter(turns.get, None)), daemon=True)
    waiting.start()
    for count, name in enumerate("ab", 1):
        time.sleep(0.02)  # by now it waits
        turns.put(name, caller="", parts=pictures(1))
        until(lambda count=count: len(got) == count)  # type: ignore[misc]
    time.sleep(0.02)
    turns.close()
    waiting.join(5)
    assert not waiting.is_alive()
    assert got == ["a", "b"]
    assert turns.get() is None
    turns.put("c", caller="", parts=pictures(1))
    assert (turns.get(), turns.get()) == ("c", None)  # what comes late all the same is not lost


def test_what_takes_long_counts_by_its_modality_in_what_is_predicted() -> None:
    turns = turns_of()
    turns.put("film", caller="films", parts=Counter({Modality.VIDEO: 1}))
    assert turns.ahead("films", pictures(1)) == 101
    assert turns.ahead("shop", pictures(1)) == 2
    assert turns.ahead("shop", Counter({Modality.VIDEO: 2})) == 300


def test_what_waits_no_more_is_as_if_it_had_never_come() -> None:
    turns = turns_of()
    for name in ("a", "b"):
        turns.put(name, caller="bulk", parts=pictures(2), size=10)
    turns.discard("a")
    assert (turns.qsize(), turns.of("bulk"), turns.bytes) == (1, 1, 10)
    assert turns.ahead("bulk", pictures(1)) == 3
    assert turns.get() == "b"
    turns.discard("b")  # its turn came before
    assert (turns.qsize(), turns.of("bulk"), turns.bytes) == (0, 0, 0)
    assert turns.ahead("bulk", pictures(1)) == 1
