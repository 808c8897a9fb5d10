from __future__ import annotations

import subprocess
import sys
import threading
import time

from moderation.errors import ExitCode, StreamError
from moderation.stream.liveness import Progress, watch


def test_progress_is_measured_on_its_own_clock() -> None:
    now = [100.0]
    progress = Progress(lambda: now[0])
    now[0] = 107.5
    assert progress.seconds() == 7.5
    progress.made()
    assert progress.seconds() == 0


def test_a_process_that_makes_progress_is_left_alone_and_ended_when_it_makes_none() -> None:
    ended = threading.Event()
    errors: list[StreamError] = []
    progress = Progress()
    watch(progress, 0.3, end=lambda error: (errors.append(error), ended.set()))
    for _ in range(10):
        time.sleep(0.1)
        progress.made()
    assert not ended.is_set()
    assert ended.wait(5)
    assert errors[0].exit_code == ExitCode.STALLED


STUCK = """
import atexit, sys, threading, time
from moderation.stream.liveness import Progress, watch
atexit.register(lambda: time.sleep(60))
threading.Thread(target=time.sleep, args=(60,)).start()
print("before", end="")
watch(Progress(), 0.2)
while True: pass
"""


def test_nothing_that_is_stuck_keeps_a_process_alive_and_what_it_said_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, check=False, timeout=20)
    assert (done.returncode, done.stdout) == (ExitCode.STALLED, "before")
    assert "nothing went forward for 0 s" in done.stderr


UNREAD = """
import os, time
from moderation.stream.liveness import Progress, watch
os.set_blocking(2, False)
try:
    while True:
        os.write(2, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(2, True)
watch(Progress(), 0.2)
time.sleep(60)
"""


def test_a_log_that_nobody_reads_keeps_no_process_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", UNREAD], stderr=subprocess.PIPE) as stuck:
        try:
            assert stuck.wait(20) == ExitCode.STALLED
        finally:
            stuck.kill()
