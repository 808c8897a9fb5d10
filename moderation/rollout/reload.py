"""Builds that change while the process runs: loaded and verified beside what is in force, taken between two batches, and only when good."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from moderation.decision import LIVE
from moderation.rollout.running import RunningPolicy, RunningSet

InForce = TypeVar("InForce")
State = tuple[tuple[int, ...] | None, ...]

# Seconds until what was refused is tried again, since not all that refuses a build is in its files; doubled after each refusal up to the last.
AGAIN, AT_LAST = 60.0, 600.0
PATIENCE = 1.0  # seconds that closing waits for a build under way

_log = logging.getLogger(__name__)


class Reloader(Generic[InForce]):
    """What is in force, made anew by `build` when one of the `files` changed and all of them have rested for one look.

    A lock is two files and its status a third: they are rarely replaced in one moment, and half of a release must not be taken for it.
    A build that fails leaves the one in force, and is tried again when the files change, or after a while as they are: a full disk,
    or a plugin that took too long to set up, may pass. `seconds` lie between two looks.
    """

    def __init__(
        self,
        build: Callable[[], InForce],
        files: Sequence[Path],
        *,
        seconds: float,
        tells: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Builds for the first time, and `tells` of each later one that is refused. Raises what `build` raises."""
        self._build, self._files, self._seconds, self._clock = build, tuple(files), seconds, clock
        self._level = logging.ERROR if tells else logging.DEBUG
        self._built_from = self._seen = self._look()
        self._in_force = build()
        self._closed = threading.Event()
        self.reloads = self.refusals = 0
        self._patience, self._again = AGAIN, math.inf
        self._thread = threading.Thread(target=self._watch, name="reload", daemon=True)
        self._thread.start()

    def current(self) -> InForce:
        """What is in force now: the newest good build. Who asks once before a batch decides all of it alike."""
        return self._in_force

    def close(self) -> None:
        """Look no more; a build under way is not waited for, as the process ends."""
        self._closed.set()
        self._thread.join(PATIENCE)

    def _watch(self) -> None:
        while not self._closed.wait(self._seconds):
            self.look()

    def look(self) -> None:
        """Look at the files once; build where they changed and have rested since the last look, or what was refused a while ago."""
        before, self._seen = self._seen, self._look()
        changed = self._seen != self._built_from
        if self._seen != before or not (changed or self._clock() >= self._again):
            return
        if changed:
            self._built_from, self._patience = self._seen, AGAIN
        try:
            self._in_force = self._build()
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with a build, the one in force goes on; SystemExit of a plugin too
            self.refusals += 1
            self._again, told = self._clock() + self._patience, f"{type(error).__name__}: {error}"
            _log.log(
                self._level,
                "what changed on disk is refused, what is in force stays: %s; tried again in %.0f s",
                told,
                self._patience,
            )
            self._patience = min(2 * self._patience, AT_LAST)
        else:
            self.reloads += 1
            self._again = math.inf

    def _look(self) -> State:
        return tuple(_stat(path) for path in self._files)


def tell_change(before: RunningSet | None, after: RunningSet) -> None:
    """Log, one line for each policy, what changes where the one set takes the other's place; without `before`, everything that is there.

    What begins or ends to act is a warning, and so is a set in which nothing acts, and a build without a threshold.
    """
    earlier = {one.id: _build(one) for one in before.policies} if before else {}
    later = {one.id: _build(one) for one in after.policies}
    changed = [(id_, earlier.get(id_), later.get(id_)) for id_ in sorted(earlier | later)]
    changed = [(id_, old, new) for id_, old, new in changed if old != new]
    for id_, old, new in changed:
        turned = before is not None and (old is not None and old.live) != (new is not None and new.live)
        level = logging.WARNING if turned else logging.INFO
        _log.log(level, "policy %s: %s", id_, _step(old, new), extra={"told": {"policy": id_}})
    names, certified = {id_ for id_, _, _ in changed}, False
    for terms in (one.terms for one in after.policies):
        certified = certified or bool(terms.cuts)
        if terms.policy in names and not terms.cuts:
            told = "policy %s: not certified: every item ends as on_error says, %s"
            _log.warning(told, terms.policy, terms.on_error, extra={"told": {"policy": terms.policy}})
    if (changed or before is None) and not any(one.live for one in later.values()):
        how = "`moderation policy release` makes one live" if certified else "`moderation policy certify` comes next"
        _log.warning("no policy is live, so nothing is acted on: %s", how)


class _Build(NamedTuple):
    revision: str
    status: str

    @property
    def live(self) -> bool:
        return self.status == LIVE


def _build(policy: RunningPolicy) -> _Build:
    return _Build(policy.terms.revision, policy.terms.status)


def _step(old: _Build | None, new: _Build | None) -> str:
    if new is None:
        return "is gone"
    if old is None:
        return f"revision {new.revision}, status {new.status}"
    return ", ".join(
        f"{name} {was} -> {now}" for name, was, now in zip(_Build._fields, old, new, strict=True) if was != now
    )


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
