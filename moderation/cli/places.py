"""Options that several commands share, and what a command needs: folders to write in and extras, refused before any work is done."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from moderation.errors import SettingsError


def in_a_folder(path: Path | None) -> Path | None:
    """A file's path as typed; a usage error that names its folder where that is not there."""
    if path is not None:
        a_folder(path.parent)
    return path


def a_folder(path: Path | None) -> Path | None:
    """A folder as typed; a usage error that names it where it is not there."""
    if path is not None and not path.is_dir():
        raise typer.BadParameter(f"there is no folder {path}; make it first, or name another")
    return path


def need(package: str, *, extra: str) -> None:
    """Raises SettingsError where a package that only an extra brings is not installed."""
    if importlib.util.find_spec(package) is None:
        raise SettingsError(f'this needs {package}, which is not installed; try: pip install "moderation[{extra}]"')


PolicyFile = Annotated[Path, typer.Argument(help="The policy's YAML file.")]
Json = Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")]
BuildFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The folder of the lock, where it is not beside the policy file.",
        file_okay=False,
        callback=a_folder,
    ),
]
Background = Annotated[
    Path | None,
    typer.Option(
        help="Manifest of ordinary content; by default data/ID.background.jsonl or data/background.jsonl beside the policy.",
        dir_okay=False,
    ),
]
