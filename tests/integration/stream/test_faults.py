"""True workers that are killed, frozen, replaced and told to stop while they work: every record is counted at the end."""

from __future__ import annotations

import functools
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from moderation.errors import ExitCode
from tests.services import proxy as kinds
from tests.services.proxy import FaultProxy
from tests.stream.crew import SHORT, Crew
from tests.stream.forms import forms
from tests.stream.place import Place, mixed, running, started, texts
from tests.stream.tally import tally

pytestmark = pytest.mark.needs_own_kafka

# Stages of a worker's life, by the request that is under way, and the one that must have come before.
JOIN = [(kinds.INIT_PRODUCER, None), (kinds.JOIN_GROUP, None), (kinds.SYNC_GROUP, None), (kinds.FETCH_OFFSETS, None)]
NOTE = [(kinds.ADD_OFFSETS, None), (kinds.COMMIT_IN_TRANSACTION, None), (kinds.END_TRANSACTION, None)]
PUBLISH = [(kinds.ADD_PARTITIONS, None), (kinds.PRODUCE, None), *[(kind, kinds.PRODUCE) for kind, _ in NOTE]]
WITHOUT = [(kinds.PRODUCE, None), (kinds.COMMIT_OFFSETS, kinds.PRODUCE)]  # without transactions


def kill_at(stages: list[tuple[int, int | None]], place: Place, crew: Crew, proxy: FaultProxy) -> int:
    """One life for each stage and way, ended just before the request or its answer gets through: the number of them."""
    for stage, before in stages:
        for way in (proxy.on_request, proxy.on_answer):
            place.feed(mixed(30, stage))
            kill = functools.partial(crew.send, 0, signal.SIGKILL)
            arm = functools.partial(way, stage, kill)
            proxy.on_request(before, arm) if before is not None else arm()
            crew.restart()
            assert crew.ended(0) == -signal.SIGKILL
    crew.restart()
    crew.work()
    crew.drain()
    return 2 * len(stages)


@forms("stages", short=PUBLISH, full=[*NOTE, *PUBLISH, *JOIN])
def test_a_worker_killed_at_every_stage_loses_and_repeats_nothing(
    place: Place, proxy: FaultProxy, stages: list[tuple[int, int | None]]
) -> None:
    config = place.config(bootstrap=proxy.address, static_member=True, **SHORT)
    with Crew(place, config) as crew:
        deaths = kill_at(stages, place, crew, proxy)
    assert crew.ends == {-signal.SIGKILL: deaths}
    assert tally(place).whole


@forms("rounds", short=1, full=10)
def test_at_least_once_loses_nothing_and_repeats_at_most_what_was_in_hand_at_a_death(
    place: Place, proxy: FaultProxy, rounds: int
) -> None:
    changes = {**SHORT, "bootstrap": proxy.address, "static_member": True, "delivery": "at_least_once"}
    with Crew(place, place.config(**changes)) as crew:
        deaths = kill_at(rounds * WITHOUT, place, crew, proxy)
    counted = tally(place)
    assert (counted.lost, counted.strayed) == (0, 0)
    assert 0 < counted.repeated <= 4 * SHORT["poll_records"] * deaths


@forms("lives", short=3, full=20)
def test_workers_that_end_since_nothing_can_be_published_are_no_deaths_of_records(
    place: Place, proxy: FaultProxy, lives: int
) -> None:
    """The group's brokers answer, so that notes are left and taken back; those of the outputs do not."""
    changes = {**SHORT, "commit_seconds": 2.0, "poll_records": 1, "static_member": True}
    config = place.config(worker="tries = 1", bootstrap=proxy.address, **changes)
    place.feed(texts(20))
    proxy.cut(kinds.PRODUCE)
    with Crew(place, config) as crew:
        for _ in range(lives):
            assert crew.ended(0) in {ExitCode.RESTART, ExitCode.STALLED}
            crew.restart()
        proxy.cut(None)
        crew.restart()
        crew.work()
        crew.drain()
    assert tally(place).whole


@forms("kills", short=4, full=100)
def test_kills_at_random_lose_and_repeat_nothing(place: Place, kills: int) -> None:
    dice = random.Random(1)
    changes = {**SHORT, "session_seconds": 2.0}
    with Crew(place, place.config("a", **changes), place.config("b", **changes)) as crew:
        for number in range(kills):
            place.feed(mixed(200, number))
            crew.work(50)
            crew.restart()
            time.sleep(dice.uniform(0.0, 0.5))
            crew.send(dice.randrange(2), signal.SIGKILL)
        crew.work()
        crew.restart()
        crew.drain()
    print(f"{kills} kills at random, ends: {dict(crew.ends)}")
    assert crew.ends[-signal.SIGKILL] == kills
    assert tally(place).whole


@forms("rounds", short=3, full=50)
def test_members_that_join_and_leave_all_the_time_lose_and_repeat_nothing(place: Place, rounds: int) -> None:
    dice = random.Random(2)
    configs = [place.config(slot, **SHORT) for slot in "abc"]
    with Crew(place, *configs[:2]) as crew:
        for number in range(rounds):
            with running(configs[2]) as third:
                place.feed(mixed(300, number))
                wait_for_lines(configs[2].with_suffix(".log"), "assigned partitions: ", number + 1)
                time.sleep(dice.uniform(0.0, 1.0))
                crew.restart()
                third.send_signal(signal.SIGTERM)
                assert third.wait(30) in {ExitCode.OK, ExitCode.RESTART, -signal.SIGTERM}
        crew.work()
        crew.drain()
    moves = [config.with_suffix(".log").read_text().count("assigned partitions: ") for config in configs]
    print(f"{rounds} joins and leaves, assignments: {moves}, ends: {dict(crew.ends)}")
    assert min(moves[:2]) >= rounds
    assert tally(place).whole


@forms("rounds", short=1, full=10)
def test_a_worker_that_slept_while_its_partitions_moved_is_fenced(place: Place, proxy: FaultProxy, rounds: int) -> None:
    """It sleeps just before it adds offsets; its transaction has not timed out when it wakes, so that the group alone keeps it out."""
    calm = {**SHORT, "commit_seconds": 30.0, "transaction_seconds": 40.0, "request_seconds": 10.0}
    sleeper = place.config("a", bootstrap=proxy.address, **calm)
    with Crew(place, sleeper, place.config("b", **calm), again={ExitCode.RESTART, ExitCode.FENCED}) as crew:
        for number in range(rounds):
            place.feed(mixed(300, number))
            crew.work()
            proxy.on_request(kinds.PRODUCE, functools.partial(falls_asleep, place, crew, proxy))
            place.feed(mixed(300, number + 1))
            assert crew.ended(0) in {ExitCode.RESTART, ExitCode.FENCED}
            crew.restart()
            wait_for_lines(sleeper.with_suffix(".log"), ": ready", number + 2)  # now its transaction is ended, too
        crew.work()
        crew.drain()
    assert crew.ends.total() == rounds
    assert tally(place).whole


def wait_for_lines(log: Path, said: str, count: int) -> None:
    end = time.monotonic() + 180
    while log.read_text().count(said) < count:
        assert time.monotonic() < end, said
        time.sleep(0.1)


def falls_asleep(place: Place, crew: Crew, proxy: FaultProxy) -> None:
    """From the next answer on that offsets may be added, until the other worker has gone on without it."""

    def sleep() -> None:
        crew.send(0, signal.SIGSTOP)
        before = place.committed()
        time.sleep(SHORT["session_seconds"] + 1.0)
        while place.committed() <= before:
            time.sleep(0.2)
        crew.send(0, signal.SIGCONT)

    proxy.on_answer(kinds.ADD_OFFSETS, sleep)


SLOW = """
import sys, time
from moderation.cli import main
from moderation.stream import envelope
read, begun = envelope.read_item, open(sys.argv[1] + ".begun", "a", buffering=1)
def slow(record, **options):
    begun.write(f"{record.partition.number} {record.offset}\\n")
    time.sleep(0.02)
    return read(record, **options)
envelope.read_item = slow
main.main(["worker", sys.argv[1]])
"""


@forms("rounds", short=1, full=20)
def test_who_is_told_to_stop_under_load_finishes_what_is_in_work_and_leaves(place: Place, rounds: int) -> None:
    config = place.config(**SHORT)
    for number in range(rounds):
        place.feed(texts(600, number))
        before = place.committed()
        worker = started(config, code=SLOW)
        while place.committed() < before + 50:
            assert worker.poll() is None
            time.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert place.committed() < place.fed
        begun = (tuple(map(int, line.split())) for line in Path(f"{config}.begun").read_text().splitlines())
        assert Counter(begun) == place.answered()
    with Crew(place, config) as crew:
        crew.work()
        crew.drain()
    assert tally(place).whole
