"""A disk that is full and a clock that jumps under a true worker: it goes on, and every record is counted at the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from moderation.decision import Decision
from moderation.errors import LockError
from moderation.policy.lock import Quota, arrays_path, lock_path, read_lock, write_lock
from tests.integration.stream.test_operation import samples, wait_for, wait_for_reloads
from tests.services.process import free_ports
from tests.stream.crew import SHORT, Crew
from tests.stream.forms import forms
from tests.stream.place import Place, mixed, started, texts
from tests.stream.tally import tally

pytestmark = pytest.mark.needs_kafka

COPY = """
import resource, shutil, signal, sys
source, target, limit = sys.argv[1:]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
if limit != "None":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
shutil.copyfile(source, target)
"""
ROOM, LEFT = 2_000_000, 20_000  # bytes of the small disk, and of what is left of it when it is full


class Disk:
    """The folder of the locks: a file system of its own where one may be mounted; elsewhere whoever copies may write so much and no more."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._filler = folder, folder / "filler"
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(folder)]
        self.own = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        self._limit: int | None = None

    def fill(self) -> None:
        """Nothing but a little room is left."""
        self._limit = None if self.own else LEFT
        if self.own:
            used = sum(one.stat().st_blocks * 512 for one in self._folder.iterdir())
            self._filler.write_bytes(bytes(ROOM - used - LEFT))

    def free(self) -> None:
        """There is room again."""
        self._limit = None
        self._filler.unlink(missing_ok=True)

    def copy(self, source: Path) -> bool:
        """Copy a file over the one of its name, as people do: whether all of it could be written."""
        words = [sys.executable, "-c", COPY, str(source), str(self._folder / source.name), str(self._limit)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def close(self) -> None:
        """Give the file system back."""
        if self.own:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)


@pytest.fixture
def disk(place: Place) -> Iterator[Disk]:
    made = place.made("weapons")
    disk = Disk(place.locks)
    place.release(made)
    yield disk
    disk.close()


@forms("rounds", short=1, full=10)
def test_a_full_disk_under_a_new_build_leaves_the_old_one_in_force(place: Place, disk: Disk, rounds: int) -> None:
    (port,) = free_ports(1)
    lock, new = lock_path(place.locks, "weapons"), lock_path(place.folder / "new", "weapons")
    revisions: list[str] = []
    config = place.config(worker=f"reload_seconds = 0.2\nprobe = {{port = {port}}}", **SHORT)
    with Crew(place, config) as crew:
        wait_for(port, "/readyz", 200)
        for number in range(rounds):
            before = read_lock(lock)
            made = replace(before, version=f"2.0.{number}", evidence={"padding": "x" * (100_000 + 3 * LEFT * number)})
            write_lock(made, new)
            disk.fill()
            if disk.own:
                with pytest.raises(LockError, match="No space left"):
                    write_lock(made, lock)
                assert read_lock(lock).revision == before.revision
            assert not disk.copy(new)
            wait_for_reloads(port, "refused", number + 1)
            decide(place, crew, number)
            disk.free()
            place.record(made)  # before the build is whole, which may be taken at once
            assert disk.copy(new)
            assert disk.copy(arrays_path(new))
            wait_for_reloads(port, "taken", number + 1)
            decide(place, crew, number)
            revisions += [before.revision, made.revision]
        crew.drain()
        assert crew.ends.total() == 0
    print(f"a disk of its own: {disk.own}")
    decided = [Decision.from_dict(json.loads(one.value)) for one in place.read("decisions")]
    wanted = Counter[str]()
    for one in revisions:
        wanted[one] += 60
    assert Counter(one.verdicts[0].revision for one in decided) == wanted
    assert {one.verdicts[0].status for one in decided} == {"live"}
    assert tally(place).whole


def decide(place: Place, crew: Crew, seed: int) -> None:
    place.feed(texts(60, seed))
    crew.work()


def test_a_log_that_cannot_be_written_stops_nothing(place: Place) -> None:
    place.feed(mixed(200))
    worker = started(place.config(**SHORT), log=Path("/dev/full"))
    place.wait_for(200)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert tally(place).whole


JUMPS = """
import sys, time
import moderation.stream.client  # takes the time of the start
began, real = time.monotonic(), time.time
def jumping():
    hours = (0, 2, -2, 30, -9000)[int((time.monotonic() - began) / 0.5) % 5]
    return real() + 3600 * hours
time.time = jumping
from moderation.cli import main
main.main(["worker", sys.argv[1]])
"""


@forms("rounds", short=8, full=200)
def test_a_clock_that_jumps_by_hours_loses_and_repeats_nothing(place: Place, rounds: int) -> None:
    (port,) = free_ports(1)
    place.release(place.made("weapons", quota=Quota(1_000_000, "review")))
    config = place.config(worker=f'envelope = "cloudevents"\nreload_seconds = 0.2\nprobe = {{port = {port}}}', **SHORT)
    with Crew(place, config, code=JUMPS) as crew:
        for number in range(rounds):
            place.feed(mixed(100, number))
            time.sleep(0.5)
            assert negative(samples(wait_for(port, "/metrics", 200))) == {}
        crew.work()
        assert negative(samples(wait_for(port, "/metrics", 200))) == {}
        crew.drain()
        assert crew.ends.total() == 0
    assert tally(place).whole


def negative(found: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in found.items() if value < 0}
