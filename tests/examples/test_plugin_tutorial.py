"""docs/plugin-tutorial.md, followed to the letter in an empty folder: its files are written, its commands run, and what they print is what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "plugin-tutorial.md"
REST = "…"  # a line that stands for any lines
# What differs from run to run: seconds, milliseconds of a step, a build's revision.
VARYING = re.compile(r"(?<=in )\d+\.\d+ ?(?=m?s)|\d+\.\d+(?=\s+ok\b| ms| items/s)|\b[0-9a-f]{16}\b")
NUMBER = re.compile(r"-?\d+\.\d+")
TOLERANCE = 0.005  # of scores, on another machine


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """What each block is, in order: `console`, or the file that it becomes; and what stands in it."""
    for language, file, text in re.findall(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        assert file or language == "console", f"a block of {language} says neither a file nor a command"
        yield file or language, text


def alike(said: str, told: str) -> bool:
    """Whether a line is the page's, but for what varies; scores within the tolerance, as other machines make them."""
    one, other = ("|".join(VARYING.sub("#", line).split()) for line in (said, told))
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    pairs = zip(NUMBER.findall(one), NUMBER.findall(other), strict=True)
    return all(abs(float(a) - float(b)) <= TOLERANCE for a, b in pairs)


def compare(command: str, said: list[str], told: list[str]) -> None:
    rest = list(told)
    for place, line in enumerate(said):
        if line == REST:
            after = said[place + 1] if place + 1 < len(said) else None
            while rest and not (after and alike(after, rest[0])):
                rest.pop(0)
            continue
        assert rest, f"$ {command}\nsays no more; expected {line!r} of {told}"
        assert alike(line, rest[0]), f"$ {command}\nsays     {rest[0]!r}\nexpected {line!r}"
        rest.pop(0)
    assert not rest, f"$ {command}\nsays besides {rest}"


def environment(folder: Path) -> dict[str, str]:
    """Where `moderation` is this one, and pip installs beside the page's folder what it is told to, out of nothing but this machine."""
    programs, site = folder / "bin", folder / "site"
    programs.mkdir()
    for name in ("moderation", "pytest", "pip"):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODERATION_", "PYTEST_"))}
    pip = {"PIP_TARGET": str(site), "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), kept["PATH"]])
    places = os.pathsep.join([str(ROOT), str(site)])
    return kept | pip | {"PATH": path, "PYTHONPATH": places, "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}


def test_the_tutorial_can_be_followed_to_the_letter(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    env = environment(tmp_path)
    for kind, text in blocks(PAGE.read_text(encoding="utf-8")):
        if kind != "console":
            (empty / kind).parent.mkdir(parents=True, exist_ok=True)
            (empty / kind).write_text(text, encoding="utf-8")
            continue
        for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, *said = step.splitlines()
            done = subprocess.run(  # noqa: S602 - our own page
                command,
                shell=True,
                cwd=empty,
                env=env,
                text=True,
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            told = [line.rstrip() for line in done.stdout.splitlines()]
            assert done.returncode == 0, f"$ {command}\n{done.stdout}"
            compare(command, said, [line for line in told if line])
