"""Builds that change on disk: taken when good and at rest, refused when not, and nothing decided by half of one."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from moderation.errors import LockError
from moderation.policy.lock import arrays_path, lock_path, read_lock, write_lock
from moderation.rollout.reload import Reloader, tell_change
from moderation.rollout.running import RunningSet
from tests.fakes import action, lock
from tests.unit.rollout.test_locks import run


@contextmanager
def reloading(path: Path, *, seconds: float = 1000.0) -> Iterator[Reloader[str]]:
    one = Reloader(lambda: read_lock(path).revision, [path, arrays_path(path)], seconds=seconds)
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = lock_path(tmp_path, "weapons")
    write_lock(lock(), found)
    return found


OTHER = lock(actions=(action("review", 0.4),))


def test_a_change_is_taken_once_it_has_rested(path: Path) -> None:
    with reloading(path) as one:
        assert one.current() == lock().revision
        write_lock(OTHER, path)
        one.look()
        assert one.current() == lock().revision
        one.look()
        assert one.current() == OTHER.revision
        one.look()
        assert (one.reloads, one.refusals) == (1, 0)


def test_a_bad_build_leaves_what_is_in_force_and_a_good_one_after_it_is_taken(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_lock(OTHER, lock_path(tmp_path / "other", "weapons"))
    with reloading(path) as one, caplog.at_level(logging.ERROR):
        shutil.copy(lock_path(tmp_path / "other", "weapons"), path)
        arrays_path(path).write_bytes(b"half of it")
        for _ in range(4):
            one.look()
        assert (one.current(), one.reloads, one.refusals) == (lock().revision, 0, 1)
        assert "what is in force stays: LockError" in caplog.text
        path.unlink()
        for _ in range(3):
            one.look()
        assert (one.current(), one.refusals) == (lock().revision, 2)
        write_lock(OTHER, path)
        one.look()
        one.look()
        assert (one.current(), one.reloads) == (OTHER.revision, 1)


def test_a_build_that_wants_the_process_to_end_is_refused_like_any_other(path: Path) -> None:
    """A plugin that is set up may call sys.exit(); the thread that looks for new builds must outlive it."""
    builds: list[BaseException | None] = [None, SystemExit(3), None]

    def build() -> int:
        error = builds.pop(0)
        if error:
            raise error
        return len(builds)

    with closing(Reloader(build, [path], seconds=60)) as one:
        for length in (1, 2):
            path.write_bytes(b"x" * length)
            one.look()
            one.look()
        assert (one.current(), one.reloads, one.refusals) == (0, 1, 1)


def test_a_build_that_failed_for_something_outside_of_its_files_is_tried_again_less_and_less_often(path: Path) -> None:
    now, tried, full = [0.0], [], [True]

    def build() -> str:
        tried.append(now[0])
        if len(tried) > 1 and full[0]:
            raise OSError("no space left on device")
        return f"build {len(tried)}"

    with closing(Reloader(build, [path], seconds=1000, clock=lambda: now[0])) as one:
        path.write_bytes(b"new")
        for second in range(3000):
            now[0] = float(second)
            one.look()
        assert tried == [0.0, 1.0, 61.0, 181.0, 421.0, 901.0, 1501.0, 2101.0, 2701.0]
        full[0] = False
        for second in range(3000, 9000, 10):
            now[0] = float(second)
            one.look()
        assert (tried[9:], one.current(), one.reloads) == ([3310.0], "build 10", 1)


def test_closing_does_not_wait_for_a_build_that_hangs(path: Path) -> None:
    begun, end = threading.Event(), threading.Event()

    def build() -> None:
        if path.read_bytes() == b"hangs":
            begun.set()
            end.wait()

    one = Reloader(build, [path], seconds=0.01)
    path.write_bytes(b"hangs")
    assert begun.wait(20)
    one.close()  # or this test hangs
    end.set()


def test_files_that_keep_changing_are_waited_for(path: Path) -> None:
    with reloading(path) as one:
        for number in range(5):
            write_lock(lock(version=f"1.0.{number + 1}"), path)
            one.look()
        assert one.reloads == 0
        one.look()
        assert one.current() == lock(version="1.0.5").revision


def test_it_looks_by_itself(path: Path) -> None:
    with reloading(path, seconds=0.02) as one:
        write_lock(OTHER, path)
        end = time.monotonic() + 20.0
        while one.current() != OTHER.revision:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_what_cannot_be_built_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LockError), reloading(lock_path(tmp_path, "none")):
        pass


def said(before: RunningSet | None, after: RunningSet, caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What is logged of a change, with its level."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        tell_change(before, after)
    return [(one.levelname, one.getMessage()) for one in caplog.records]


def status_of(made: RunningSet, **statuses: str) -> RunningSet:
    """The same set with these statuses."""
    policies = tuple(
        replace(one, terms=replace(one.terms, status=statuses.get(one.id, "draft"))) for one in made.policies
    )
    return replace(made, policies=policies)


def test_what_changes_is_told_for_each_policy_and_acting_or_no_longer_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    old, new = lock("weapons").revision, OTHER.revision
    first = status_of(run(lock("weapons"), lock("alcohol")), alcohol="live")
    second = status_of(run(OTHER, lock("alcohol")), alcohol="live")
    assert said(first, first, caplog) == []
    assert said(first, second, caplog) == [("INFO", f"policy weapons: revision {old} -> {new}")]
    third = status_of(run(OTHER, lock("alcohol")), alcohol="live", weapons="live")
    assert said(second, third, caplog) == [("WARNING", "policy weapons: status draft -> live")]
    assert said(first, third, caplog) == [
        ("WARNING", f"policy weapons: revision {old} -> {new}, status draft -> live"),
    ]
    fourth = status_of(run(OTHER), weapons="shadow")
    assert said(third, fourth, caplog) == [
        ("WARNING", "policy alcohol: is gone"),
        ("WARNING", "policy weapons: status live -> shadow"),
        ("WARNING", "no policy is live, so nothing is acted on: `moderation policy release` makes one live"),
    ]
    assert said(fourth, fourth, caplog) == []
    assert [level for level, _ in said(fourth, second, caplog)] == ["WARNING", "INFO"]


def test_the_first_set_is_told_whole_and_one_in_which_nothing_acts_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = run(lock("weapons"))
    assert said(None, made, caplog) == [
        ("INFO", f"policy weapons: revision {lock('weapons').revision}, status draft"),
        ("WARNING", "no policy is live, so nothing is acted on: `moderation policy release` makes one live"),
    ]
    assert said(None, status_of(made, weapons="live"), caplog) == [
        ("INFO", f"policy weapons: revision {lock('weapons').revision}, status live")
    ]


def test_a_build_without_a_threshold_is_told_what_becomes_of_its_items_and_what_comes_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bare = lock("bare", actions=(action("remove", None),), on_error="label")
    after = "not certified: every item ends as on_error says, label"
    assert said(None, run(bare), caplog) == [
        ("INFO", f"policy bare: revision {bare.revision}, status draft"),
        ("WARNING", f"policy bare: {after}"),
        ("WARNING", "no policy is live, so nothing is acted on: `moderation policy certify` comes next"),
    ]
    both = run(bare, lock("weapons"))
    assert said(None, both, caplog)[2:] == [
        ("WARNING", f"policy bare: {after}"),
        ("WARNING", "no policy is live, so nothing is acted on: `moderation policy release` makes one live"),
    ]
    assert said(run(lock("weapons")), both, caplog)[1] == ("WARNING", f"policy bare: {after}")
    assert said(both, both, caplog) == []
