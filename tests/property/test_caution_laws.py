"""A log with killers in it, and processes that die of them: every killer is set aside, nothing else is, and nothing is tried for ever."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from moderation.stream.caution import SHRINK, Caution

TRIES = 3


class DiedError(Exception):
    """The process ended."""


class Log:
    """One partition: committed offset and note survive; what a process knows does not."""

    def __init__(self, length: int, killers: set[int]) -> None:
        self.length, self.killers = length, killers
        self.committed, self.note = 0, ""
        self.decided: list[int] = []
        self.dead: list[int] = []

    def run(self, worker: str, window: int) -> None:
        """One process until the end of the log, or its death: the rule of the worker in its plainest form."""
        caution = Caution.found(self.committed, self.note, worker=worker, window=window)
        first = True
        while self.committed < self.length:
            doomed = caution.alone >= TRIES
            size = 1 if doomed else min(caution.size(window), self.length - self.committed)
            if (first or caution.suspicious) and not doomed:
                self.note = caution.trying(worker)
            first = False
            tried = range(self.committed, self.committed + size)
            if doomed:
                self.dead.append(self.committed)
            elif self.killers & set(tried):
                raise DiedError
            else:
                self.decided += tried
            self.committed += size
            caution = caution.after(self.committed)
            self.note = caution.resting


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=5), st.integers(1, 200))
def test_every_killer_is_set_aside_and_nothing_else(length: int, killers: set[int], window: int) -> None:
    killers = {one for one in killers if one < length}
    log = Log(length, killers)
    levels = 2
    while SHRINK ** (levels - 1) < window:
        levels += 1
    allowed = (len(killers) * (levels + TRIES + 1)) + 1
    for process in range(allowed):
        try:
            log.run(f"worker {process}", window)
        except DiedError:
            continue
        break
    assert log.committed == length
    assert set(log.dead) == killers
    assert sorted(log.decided + log.dead) == list(range(length))
    # A process that ends well leaves nothing that a later one would take for a death.
    assert not Caution.found(length, log.note, worker="later", window=window).deaths or killers
    assert Caution.found(length, log.note, worker="later", window=window).alone == 0


@given(st.integers(0, 10**9), st.text(max_size=60), st.integers(1, 1000))
def test_a_note_that_is_none_of_ours_tells_of_no_death(offset: int, note: str, window: int) -> None:
    found = Caution.found(offset, note, worker="w", window=window)
    assert found.offset == offset
    assert found.size(window) == window or found.suspicious


@given(st.integers(0, 10**9), st.integers(0, 9), st.integers(0, 10**6), st.integers(0, 9))
def test_a_note_is_read_as_it_was_written_and_ones_own_tells_of_no_death(
    offset: int, deaths: int, ahead: int, alone: int
) -> None:
    caution = Caution(offset, deaths, offset + ahead, alone)
    assert Caution.found(offset, caution.trying("me"), worker="me", window=500) == caution
    if caution.suspicious:
        resting = Caution.found(offset, caution.resting, worker="other", window=500)
        assert resting == caution
    other = Caution.found(offset, caution.trying("me"), worker="other", window=500)
    assert other.deaths == deaths + 1
    assert other.size(500) <= max(1, caution.size(500))


def test_a_note_of_more_deaths_than_anybody_can_count_costs_nothing() -> None:
    note = json.dumps({"deaths": 2**63 - 1, "until": 100, "alone": 0, "by": "other"})
    found = Caution.found(7, note, worker="w", window=2000)
    assert (found.size(2000), found.alone) == (1, 1)


def test_a_kafka_note_of_wrong_kinds_is_no_note() -> None:
    for note in (
        '{"deaths": "1", "until": 2, "alone": 0, "by": "w"}',
        '{"deaths": -1, "until": 2, "alone": 0, "by": "w"}',
        "[1]",
        "null",
        "{}",
    ):
        assert Caution.found(7, note, worker="x", window=10) == Caution(7)
