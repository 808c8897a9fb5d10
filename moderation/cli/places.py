"""Where a command may write: in folders that are there. A path with a slip in it is refused before any work is done."""

from __future__ import annotations

from pathlib import Path

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
