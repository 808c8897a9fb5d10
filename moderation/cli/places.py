"""Options that several commands share, and the files and folders that they need, refused before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moderation.errors import PolicyError, Problem
from moderation.meant import neighbour

_LOCK = ".lock.json"  # as policy.lock has it, which takes long to import


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


def made_folder(path: Path | None) -> Path | None:
    """A folder as typed, made where it is not there; a usage error where it cannot be."""
    if path is not None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"the folder {path} cannot be made: {error.strerror}") from None
    return path


def there(path: Path) -> Path:
    """A policy's file as typed. Raises PolicyError, as reading it would, where it is no file: before anything heavy is imported."""
    if not path.exists():
        raise PolicyError([Problem(path, 0, 0, "Y001", f"cannot be read: No such file or directory{neighbour(path)}")])
    if path.is_dir():
        from moderation.policy.loader import policy_files

        named = "".join(f", such as {one}" for one in policy_files(path)[:1])
        raise PolicyError([Problem(path, 0, 0, "Y001", f"is a folder; name one policy{named}")])
    if path.name.endswith(_LOCK):  # which scan takes as well
        meant = path.with_name(path.name.removesuffix(_LOCK) + ".yaml")
        named = f", such as {meant}" if meant.exists() else ""
        raise PolicyError([Problem(path, 0, 0, "Y001", f"is a lock; name the policy that it was made from{named}")])
    return path


PolicyFile = Annotated[Path, typer.Argument(metavar="POLICY.yaml", help="The policy's YAML file.", callback=there)]
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
NewFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The folder for the lock, made where it is not there; by default beside the policy file.",
        file_okay=False,
        callback=made_folder,
    ),
]
Background = Annotated[
    Path | None,
    typer.Option(
        help="Manifest of ordinary content; by default data/ID.background.jsonl or data/background.jsonl beside the policy.",
        dir_okay=False,
    ),
]
