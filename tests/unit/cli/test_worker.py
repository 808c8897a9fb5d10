"""How the worker's process ends when its loop does not end in good order."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from moderation import __version__
from moderation.errors import ExitCode

ENDING = """
import contextlib, sys, threading
from moderation import assemble_worker
from moderation.cli.main import main
from moderation.errors import ExitCode, StreamError

class Loop:
    def run(self):
        threading.Thread(target=threading.Event().wait).start()  # a decision that hangs
        raise {error}

@contextlib.contextmanager
def worker(settings, *, folder, stop):
    yield Loop()

assemble_worker.worker = worker
main(["worker", sys.argv[1]])
"""

CONFIG = """
[stream]
inputs = ["items"]
group = "moderation"
slot = "worker-0"
[stream.kafka]
bootstrap = ["127.0.0.1:9"]
[worker]
locks = ["weapons.lock.json"]
decisions = "decisions"
review = {topic = "to-review"}
log = "json"
"""


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        ("ValueError('zebra-content')", ExitCode.INTERNAL, "ValueError"),
        ("StreamError('fenced', exit_code=ExitCode.FENCED)", ExitCode.FENCED, "fenced"),
    ],
)
def test_a_process_ends_at_once_with_a_code_whatever_still_hangs(
    tmp_path: Path, error: str, code: ExitCode, said: str
) -> None:
    config = tmp_path / "worker.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", ENDING.format(error=error), str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    assert said in done.stderr
    assert "zebra" not in done.stderr
    ready = json.loads(done.stderr.splitlines()[0])
    assert ready["message"] == "ready"
    assert (ready["service.version"], ready["messaging.consumer.group.name"]) == (__version__, "moderation")
    assert (ready["slot"], ready["inputs"]) == ("worker-0", "items")
    assert ready["outputs"] == "decisions items.dlq to-review"
