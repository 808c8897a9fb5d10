"""The server as its supervisor has it: a process that answers what it began when it is told to stop, and ends with the code that the unit expects."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest

from moderation.errors import ExitCode, SettingsError
from moderation.sections import ServeSettings
from moderation.server.listen import bound, listen
from tests.conftest import ROOT
from tests.unit.server.test_batcher import until


def port_of(log: IO[str]) -> int:
    """Where it answers, once it does."""
    for line in log:
        if "ready" in line and (found := re.search(r"http://127\.0\.0\.1:(\d+)", line)):
            return int(found[1])
    raise AssertionError("it ended before it was ready")


def asked(port: int, path: str, texts: list[str] | None = None) -> tuple[int, bytes]:
    headers = {"content-type": "application/json", "x-deadline-ms": "60000"}
    body = json.dumps({"input": texts}).encode() if texts else None
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_of_two_that_start_at_one_port_the_second_is_told_when_it_would_listen() -> None:
    """Neither listens while its encoders load, so that both got hold of it."""
    own = ServeSettings.model_validate({"locks": ("x.lock.json",), "port": 0})
    with bound(own) as first:
        other = own.model_copy(update={"port": first.getsockname()[1]})
        with bound(other) as second:
            first.listen()
            with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{other.port}"):
                listen(no_app, other, second)


async def no_app(*_: object) -> None:
    """Answers nothing."""


def test_told_to_stop_it_answers_what_it_began_lets_go_of_everything_and_ends_with_0(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text(f'[serve]\nlocks = ["{ROOT}/policies/weapons.lock.json"]\nport = 0\n', encoding="utf-8")
    command = [sys.executable, "-m", "moderation", "serve", str(config)]
    with (
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor(1) as pool,
    ):
        assert process.stderr
        try:
            port = port_of(process.stderr)
            texts = [f"text number {place}, of some words" for place in range(200)]
            begun = pool.submit(asked, port, "/v1/embeddings", texts)
            until(lambda: b"moderation_waiting_parts 0.0" not in asked(port, "/metrics")[1] or begun.done())
            assert not begun.done()
            process.send_signal(signal.SIGTERM)
            status, answer = begun.result()
            assert (status, len(json.loads(answer)["data"])) == (200, 200)
            assert process.wait(60) == ExitCode.OK
            assert "stopped in good order" in process.stderr.read()
        finally:
            process.kill()
