"""Options that several commands share, and where a command may write: in folders that are there, refused before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BACKGROUND = Path("data") / "background.jsonl"  # ordinary content, beside a policy file


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
