"""The command line over a stand-in encoder: everything else in these tests is the real thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moderation.cli import main
from tests.fakes import FakeEncoder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    """The encoder of every command: pictures and texts that read as numbers lie at that cosine to a violation."""
    fake = FakeEncoder()
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: fake)
    return fake


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command line; its exit code, stdout and stderr."""

    def once(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main.run([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return code, told.out, told.err

    return once
