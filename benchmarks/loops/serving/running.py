"""Servers in processes and environments of their own, started and stopped one after the other, and the driver that asks them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "build" / "serve-peers"
PATIENCE = 240.0  # seconds for one to start: on a busy machine a real tower's warm-up takes more than 90
QUIET = {"BENTOML_DO_NOT_TRACK": "True", "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HUB_OFFLINE": "1"}


def variables(environment: str, more: Mapping[str, str]) -> dict[str, str]:
    """Of a process in an environment: a peer's own sees none of the packages that PYTHONPATH names for ours."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"} if environment else set()
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, **QUIET, **more}


@dataclass(frozen=True, slots=True)
class Server:
    """One that is measured: its module in this folder, where it answers, and what stands before and after a request's content."""

    name: str
    module: str
    path: str = "/v1/embeddings"
    form: tuple[str, str] = ('{"input": "', '"}')
    environment: str = ""  # its folder; without one, ours
    settings: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return FOLDER / self.environment / "bin" / "python" if self.environment else Path(sys.executable)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers, and its driver."""

    url: str
    forms: Path

    def drive(self, **how: Any) -> dict[str, Any]:
        """What a driver in a process of its own found."""
        told = json.dumps({**how, "forms": str(self.forms)})
        command = [sys.executable, "-m", "benchmarks.loops.serving.driver", self.url, told]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def running(
    server: Server, folder: Path, forms: Sequence[Sequence[str]], *, settings_file: Path | None = None, **of: Any
) -> Iterator[Running]:
    """The server on a free port, answering. `of` is what it is told (device.Told); without a module it is `moderation serve` on `settings_file`."""
    port = _free_port()
    told = json.dumps({"port": port, "settings": dict(server.settings), **of})
    written = folder / f"{server.name}.forms.json"
    written.write_text(json.dumps(forms), encoding="utf-8")
    run = ["-m", f"benchmarks.loops.serving.{server.module}"]
    if not server.module:
        assert settings_file is not None
        own = folder / "serve.at.toml"
        own.write_text(settings_file.read_text(encoding="utf-8").replace("{port}", str(port)), encoding="utf-8")
        run = ["-m", "moderation", "serve", str(own)]
    log = folder / f"{server.name}.log"
    with log.open("a", encoding="utf-8") as out:
        process = subprocess.Popen(
            [server.python, *run], cwd=ROOT, env=variables(server.environment, {**server.variables, "SERVED": told}), stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}{server.path}"
            _wait(process, url, forms[0], log)
            yield Running(url, written)
        finally:
            _stop(process)


def answer(url: str, form: Sequence[str]) -> Any:
    """What it says to one request."""
    body = f"{form[0]}{time.time_ns():016x}{form[1]}".encode()
    asked = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - our own address
    with urllib.request.urlopen(asked, timeout=30) as told:  # noqa: S310
        return json.load(told)


def _wait(process: subprocess.Popen[bytes], url: str, form: Sequence[str], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            answer(url, form)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(
        f"{url} did not answer within {PATIENCE:.0f} s; its log:\n{log.read_text(encoding='utf-8')[-2000:]}"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(8)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what it left behind
    process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
