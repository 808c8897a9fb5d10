"""The README is whole: nothing left to fill in, every file it links exists, every command it shows is one."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from moderation.cli.main import app
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_what_it_links_exists(target: str) -> None:
    assert (ROOT / target).exists()


@pytest.mark.parametrize("words", sorted(set(re.findall(r"^\$ moderation (\w+(?: \w+)?)", README, re.MULTILINE))))
def test_what_it_types_is_a_command(words: str) -> None:
    command = get_command(app)
    for word in words.split():
        commands = getattr(command, "commands", {})
        if not commands:
            break
        command = commands[word]
