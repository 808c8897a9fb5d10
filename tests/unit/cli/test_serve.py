"""What is wrong with a server's settings is told before an encoder is loaded, which takes long."""

from __future__ import annotations

import importlib.util
import socket
import tomllib
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble_serve
from moderation.errors import ExitCode
from moderation.extras import SERVER
from moderation.policy.lock import lock_path, write_lock
from tests.conftest import ROOT
from tests.fakes import lock
from tests.unit.cli.conftest import Run

KEY = "0" * 64


@pytest.fixture
def serve(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Serves by these lines of the section; the exit code and what was told. An encoder that is loaded fails the test."""

    def loaded(*_args: Any, **_options: Any) -> Any:
        raise AssertionError("an encoder was loaded")

    monkeypatch.setattr(assemble_serve, "embedder", loaded)
    write_lock(lock(), lock_path(tmp_path, "weapons"))

    def once(*lines: str) -> tuple[int, str]:
        config = tmp_path / "serve.toml"
        config.write_text("\n".join(("[serve]", *lines)), encoding="utf-8")
        code, _, told = run("serve", config)
        return code, told

    return once


@pytest.mark.parametrize("command", [("serve",), ("bench", "serve")])
@pytest.mark.parametrize("package", ["fastapi", "httptools", "uvicorn"])
def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], package: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == package else found(name, *more)
    )
    (tmp_path / "serve.toml").touch()
    code, _, told = run(*command, tmp_path / "serve.toml")
    assert code == ExitCode.USAGE
    assert f'this needs {package}, which is not installed; try: pip install "moderation[serve]"' in told


def test_the_extra_holds_what_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [one.partition(">=")[0] for one in project["optional-dependencies"]["serve"]] == list(SERVER)


def test_a_port_that_is_taken(serve: Any) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, told = serve('locks = ["weapons.lock.json"]', f"port = {port}")
    assert (code, f"cannot listen on 127.0.0.1:{port}: Address already in use" in told) == (ExitCode.USAGE, True)


def test_a_key_of_a_policy_that_is_not_there(serve: Any) -> None:
    code, told = serve(
        'locks = ["weapons.lock.json"]', "port = 0", "[serve.keys.shop]", f'sha256 = "{KEY}"', 'policies = ["weapon"]'
    )
    assert code == ExitCode.USAGE
    assert "serve.keys.shop: unknown policy 'weapon'; expected one of weapons" in told


def test_categories_of_a_policy_that_is_not_there(serve: Any) -> None:
    """Else clients ask for a category that nothing fills, and never hear of it."""
    code, told = serve('locks = ["weapons.lock.json"]', "port = 0", "[serve.categories]", 'weapon = ["violence"]')
    assert code == ExitCode.USAGE
    assert "serve.categories: unknown policy 'weapon'; expected one of weapons" in told


def test_a_lock_that_is_not_there(serve: Any) -> None:
    code, told = serve('locks = ["weapons.lock.json", "other.lock.json"]', "port = 0")
    assert (code, "other.lock.json" in told) == (ExitCode.ENCODER, True)
