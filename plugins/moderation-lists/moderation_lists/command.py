"""`moderation-lists`: what is wrong with lists, all of it at once; a detector that is set up tells the first problem only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from moderation.cli import terminal
from moderation.errors import DataError, ModerationError, Problem

app = typer.Typer(no_args_is_help=True, help="Lists of words, phrases and patterns.")


@app.callback()
def _commands() -> None:
    """One command today; this keeps its name on the line."""


@app.command()
def check(
    lists: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Lists, as the settings name them.")],
) -> None:
    """Read lists, and tell every bad row by its line, or count what they hold; of their content nothing is ever printed.

    Example: moderation-lists check lists/*.txt
    """
    from moderation_lists.entries import read_list
    from moderation_lists.streams import spelling_of

    rows: list[list[str]] = []
    problems: list[Problem] = []
    for path in lists:
        try:
            entries = read_list(path, "", 1.0)
        except DataError as error:
            problems += error.problems
            continue
        words = [one for one in entries if one.pattern is None]
        alike = len(words) - len({(spelling_of(one.text), one.opens, one.goes_on) for one in words})
        parts = sum(one.opens or one.goes_on for one in words)
        rows.append([str(path), *(f"{one:,}" for one in (len(entries), len(entries) - len(words), parts, alike))])
    if problems:
        raise DataError(problems)
    terminal.table(["file", "entries", "patterns", "parts of words", "spelt alike"], rows)


def main() -> None:
    """Run the command; an error of ours is a message, any other keeps its traceback."""
    try:
        app(prog_name="moderation-lists")
    except ModerationError as failure:
        terminal.error(failure)
        sys.exit(int(failure.exit_code))
