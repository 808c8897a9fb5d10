"""The options of `moderation scan`: what it reads, by which policies, and where what it finds goes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from moderation.cli.places import in_a_folder

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH", help="Files, folders, .jsonl or .parquet of items, or - for JSON lines on stdin."),
]
Policies = Annotated[
    list[Path],
    typer.Option("--policy", help="A certified policy file, or a lock; repeat for more.", dir_okay=False),
]
Lines = Annotated[bool, typer.Option("--json", help="Every decision as one line of JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No line for any item: only the summary.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Write every decision to this file as JSON lines.", dir_okay=False, callback=in_a_folder
    ),
]
SummaryFile = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        help="Write the counts to this file as JSON, with all files left alone.",
        dir_okay=False,
        callback=in_a_folder,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write a page with counts, plots and small copies of the items that tell most, which needs nothing else.",
        dir_okay=False,
        callback=in_a_folder,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Decide on a Ray cluster: HOST:PORT, auto for the one of this machine, local for one of its own.",
    ),
]
Cores = Annotated[int, typer.Option("--ray-cores", min=1, help="Cores for each encoder on Ray, where there is no GPU.")]
Keep = Annotated[
    Path | None,
    typer.Option(
        "--keep",
        help="With --ray, the folder for decisions as Parquet; a run that was killed goes on where it stopped.",
        file_okay=False,
    ),
]
