"""The README is whole: what it links, types and quotes from a policy exists, and every command has its place in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from moderation.cli.main import app
from moderation.settings import load_settings
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
WEAPONS = (ROOT / "policies" / "weapons.yaml").read_text(encoding="utf-8").splitlines()
(QUOTED,) = re.findall(r"^```yaml\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(command: Any, *words: str) -> list[str]:
    """Every command with its groups, as it is typed."""
    below = getattr(command, "commands", {})
    return [one for name in below for one in commands(below[name], *words, name)] or [" ".join(words)]


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


@pytest.mark.parametrize("words", commands(get_command(app)))
def test_every_command_is_named(words: str) -> None:
    assert re.search(rf"\bmoderation {words}\b", README)


@pytest.mark.parametrize("line", QUOTED.splitlines())
def test_what_it_quotes_of_the_weapons_policy_stands_there(line: str) -> None:
    assert line.split("  #", maxsplit=1)[0].rstrip() in WEAPONS


@pytest.mark.parametrize("toml", re.findall(r"^```toml\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
def test_its_settings_are_settings(toml: str, tmp_path: Path) -> None:
    file = tmp_path / "moderation.toml"
    file.write_text(toml, encoding="utf-8")
    assert load_settings(file, environ={}) != load_settings(environ={})


def test_its_detector_is_the_tutorials_which_a_test_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    (detector,) = (block for block in blocks if "hookimpl" in block)
    assert detector in (ROOT / "docs" / "plugin-tutorial.md").read_text(encoding="utf-8")
