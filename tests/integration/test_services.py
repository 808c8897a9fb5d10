"""A run's services: shared by all who ask in it, gone when the last has gone, however it went."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.services import available
from tests.services.lease import lease

ASK = """
import signal, sys, time
from tests.services.lease import lease
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without it
with lease(sys.argv[1]) as addresses:
    print(addresses.redis, flush=True)
    time.sleep(120)
"""
# Started with Redis only: the same keeper, in a tenth of the time.
ENVIRON = {**os.environ, available.KAFKA: "127.0.0.1:9"}


def ask(run: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ASK, run], cwd=ROOT, env=ENVIRON, stdout=subprocess.PIPE, text=True)


def folders(run: str) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"moderation-services-{run}-*"))


def gone(run: str) -> bool:
    end = time.monotonic() + 20
    while folders(run) and time.monotonic() < end:
        time.sleep(0.05)
    return not folders(run)


@pytest.mark.needs_redis
@pytest.mark.skipif(not available.own_redis(), reason="needs redis-server")
def test_all_of_a_run_share_one_server_and_the_last_to_go_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = f"test{os.getpid()}"
    first, second = ask(run), ask(run)
    with first, second:
        assert first.stdout
        assert second.stdout
        address = first.stdout.readline()
        assert second.stdout.readline() == address
        first.send_signal(signal.SIGKILL)
        monkeypatch.setenv(available.KAFKA, "127.0.0.1:9")
        with lease(run) as addresses:
            assert f"{addresses.redis}\n" == address
            assert addresses.kafka == "127.0.0.1:9"
            assert len(folders(run)) == 1
        second.send_signal(signal.SIGINT)
    assert gone(run)


def test_addresses_in_the_environment_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(available.KAFKA, "kafka.test:1")
    monkeypatch.setenv(available.REDIS, "redis.test:2")
    run = f"given{os.getpid()}"
    with lease(run) as addresses:
        assert (addresses.kafka, addresses.redis, addresses.proxied, addresses.secure) == (
            "kafka.test:1", "redis.test:2", (), None,
        )  # fmt: skip
    assert gone(run)


def test_what_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(available.KAFKA, raising=False)
    monkeypatch.delenv(available.REDIS, raising=False)
    assert available.lacking().keys() == {"needs_kafka", "needs_own_kafka", "needs_redis"}
    monkeypatch.setenv(available.KAFKA, "kafka.test:1")
    monkeypatch.setenv(available.REDIS, "redis.test:2")
    assert available.lacking().keys() == {"needs_own_kafka"}
