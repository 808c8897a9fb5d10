"""`moderation search`: the pictures nearest to words, or to another picture; every picture is looked at, none is guessed at by an index."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.cli.places import Json, in_a_folder
from moderation.meant import neighbour

if TYPE_CHECKING:
    from moderation.cli.hits import Found

Sheet = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Write a page with the pictures that were found, which needs nothing else.",
        dir_okay=False,
        callback=in_a_folder,
    ),
]


def search(  # noqa: PLR0917 - typer passes options by name
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="WORDS PATH...",
            help="What to look for; then pictures, folders, .jsonl of items, - for JSON lines on stdin, or what `moderation policy embed` kept.",
            show_default=False,
        ),
    ],
    also: Annotated[
        list[str] | None, typer.Option("--also", metavar="WORDS", help="More words, searched for at once; repeat.")
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option(help="A picture to search by, in place of the first WORDS; repeat for more.", dir_okay=False),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10_000, help="How many pictures to show for each query.")] = 12,
    out: Sheet = None,
    encoder: Annotated[str, typer.Option(help="The encoder's name in the settings.")] = "default",
    as_json: Json = False,
) -> None:
    """Find the pictures nearest to words, or to a picture.

    Similarities are cosines: for ranking, not for acting. No policy is asked, nothing is certified.
    Whatever cannot be read is named and counted, and ends nothing; where not one picture is left, with exit code 13.
    To search often, keep the vectors once: moderation policy embed pictures/ --out kept

    Example: moderation search "a red car" pictures/ --also "a bicycle" --out found.html
    """
    from moderation import assemble
    from moderation.cli.hits import nearest
    from moderation.cli.pictures import Told, named, pictures
    from moderation.cli.query import embed_queries, of_pictures, of_words
    from moderation.settings import load_settings

    words, paths = ([], arguments) if like else (arguments[:1], arguments[1:])
    if not paths:
        raise typer.BadParameter("expected what to look for and then at least one PATH (with --like, paths alone)")
    _check_order(words, paths, like=like or ())
    settings = load_settings()
    most = settings.images.max_bytes
    queries = [*of_words([*words, *(also or ())]), *of_pictures(like or (), max_bytes=most)]
    wanted = named([Path(one) for one in paths], max_bytes=most)
    with terminal.working("loading the encoder"):
        embedder = assemble.embedder(settings, encoder)
    told, vectors = Told(), embed_queries(queries, embedder)
    found = nearest(pictures(wanted, embedder, told), queries, vectors, top=top)
    if out:
        from moderation.cli.search_sheet import render_sheet

        with terminal.replacing(out) as file:
            file.write(render_sheet(found, told, limits=settings.images, encoder=embedder.encoder.fingerprint))
    if as_json:
        plain = {"schema": "search/v1", "encoder": str(embedder.encoder.fingerprint), **told.to_dict()}
        terminal.emit({**plain, "queries": [one.to_dict() for one in found]})
    else:
        _print(found)
    told.print(to_stderr=as_json)
    told.leave()


def _check_order(words: Sequence[str], paths: Sequence[str], *, like: Sequence[Path]) -> None:
    """A usage error for arguments that are turned round (what should be words is there, and the last of the paths is not), and for words beside a picture."""
    first = Path(paths[0])
    if like and len(paths) > 1 and paths[0] != "-" and not first.exists() and not neighbour(first):
        meant = shlex.join([*paths[1:], "--also", paths[0], *(word for one in like for word in ("--like", str(one)))])
        raise typer.BadParameter(
            f"with --like each argument is a PATH, and {paths[0]!r} is none; did you mean: search {meant}"
        )
    if words and Path(words[0]).exists() and not Path(paths[-1]).exists() and paths[-1] != "-":
        meant = shlex.join([paths[-1], words[0], *paths[:-1]])
        raise typer.BadParameter(f"WORDS come first, then each PATH; did you mean: search {meant}")


def _print(found: Sequence[Found]) -> None:
    for one in found:
        rows = [[hit.picture.name, f"{hit.similarity:.4f}"] for hit in one.hits]
        terminal.table([one.query.name, "similarity"], rows)
