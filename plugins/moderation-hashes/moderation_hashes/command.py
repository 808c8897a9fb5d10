"""`moderation-hashes`: lists into an index, what is in one, and pictures against it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from moderation.cli import terminal
from moderation.errors import DataError, ModerationError, Problem

app = typer.Typer(no_args_is_help=True, help="Match pictures against lists of known-bad ones, by PDQ.")


@app.command("import")
def import_(
    lists: Annotated[
        list[str], typer.Argument(metavar="LIST…", help="A list's file, or NAME=FILE; without NAME, the file's.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The index to write.", dir_okay=False)],
) -> None:
    """Read lists and write their index; of the lists' content nothing is ever printed.

    Example: moderation-hashes import terror.csv ncii=stopncii.json -o known-bad.index
    """
    from moderation_hashes.index import write_index
    from moderation_hashes.lists import HashList, read_list

    read: list[HashList] = []
    problems: list[Problem] = []
    for one in lists:
        name, _, path = one.rpartition("=")
        try:
            read.append(read_list(Path(path), name or Path(path).stem.lower()))
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    try:
        write_index(read, out)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="LIST…") from None
    for of_list in read:
        for why, count in sorted(of_list.passed_over.items()):
            terminal.note(f"{of_list.name}: passed over {count} of {why}")
    show(out)


@app.command()
def show(index: Annotated[Path, typer.Argument(metavar="FILE", help="The index.")]) -> None:
    """Read all of an index, and say which lists it holds.

    Example: moderation-hashes show known-bad.index
    """
    from moderation_hashes.index import Index

    opened = Index(index)
    opened.verify()
    rows = [[one.name, one.revision, f"{one.hashes:,}", one.digest[:12]] for one in opened.lists]
    terminal.table(["list", "revision", "hashes", "file sha256"], rows)


@app.command()
def match(
    index: Annotated[Path, typer.Argument(metavar="FILE", help="The index.")],
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE…", help="Picture files.", exists=True, dir_okay=False)
    ],
) -> None:
    """Say of each picture what the detector says.

    Example: moderation-hashes match known-bad.index upload.jpg
    """
    from moderation import Abstention, DetectionBatch
    from moderation.item import Part
    from moderation_hashes.detector import Hashes

    detector = Hashes(index)
    for path in pictures:
        (answer,) = detector.detect(DetectionBatch((Part.image(path.read_bytes()),)))
        if isinstance(answer, Abstention):
            terminal.say(f"{path}: cannot be judged ({answer.reason}, {answer.cause})")
            continue
        best = max(answer, key=lambda score: score.value)
        terminal.say(f"{path}: {best.value:.3f} {best.concept or 'on no list'}")


@app.command("hash")
def hash_(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="PICTURE…", help="Picture files.", exists=True, dir_okay=False)
    ],
) -> None:
    """Write a list of pictures of your own, one line each; those with too little in them are told on stderr and left out.

    Example: moderation-hashes hash removed/*.jpg > removed.csv
    """
    from moderation.errors import ItemError
    from moderation_hashes.detector import LEAST_QUALITY, hash_file

    for path in pictures:
        try:
            hashed = hash_file(path.read_bytes())
        except ItemError as error:
            terminal.note(f"{path}: {error}")
            continue
        if hashed.quality < LEAST_QUALITY:
            terminal.note(f"{path}: quality {hashed.quality} is below {LEAST_QUALITY}")
            continue
        terminal.say(f"pdq,{hashed.bits.hex()}")


def main() -> None:
    """Run the command; an error of ours is a message, any other keeps its traceback."""
    try:
        app(prog_name="moderation-hashes")
    except ModerationError as failure:
        terminal.error(failure)
        sys.exit(int(failure.exit_code))
