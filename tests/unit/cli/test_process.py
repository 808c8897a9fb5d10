"""What a process on a stream does around its loop."""

from __future__ import annotations

import subprocess
import sys

LOOP = """
import gc, logging, sys
from contextlib import contextmanager
from moderation.cli import process

ready = [{number: [number]} for number in range(1000)]  # what was loaded

class Loop:
    def run(self):
        print(gc.get_freeze_count(), any(one is ready for one in gc.get_objects()), gc.get_threshold()[0])

@contextmanager
def make(*, stop):
    yield Loop()

usual = gc.get_threshold()
process.run_until_told(make, logging.getLogger(), log="text", told=dict)
print(gc.get_freeze_count(), gc.get_threshold() == usual)
"""


def test_what_was_loaded_is_not_looked_through_for_garbage_again() -> None:
    done = subprocess.run([sys.executable, "-c", LOOP], check=True, stdout=subprocess.PIPE, text=True)
    frozen, looked_through, threshold, still_frozen, as_before = done.stdout.split()
    assert int(frozen) > 1000
    assert looked_through == "False"
    assert int(threshold) > 10_000
    assert (still_frozen, as_before) == ("0", "True")
