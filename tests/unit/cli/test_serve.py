"""What is wrong with a server's settings is told before an encoder is loaded, which takes long."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble_serve
from moderation.errors import ExitCode
from moderation.policy.lock import lock_path, write_lock
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
