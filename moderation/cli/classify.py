"""`moderation classify`: which of some texts each picture is nearest to, by the numbers that the server's `/v1/classify` gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation.cli import terminal

if TYPE_CHECKING:
    from moderation.cli.pictures import Picture
    from moderation.embedding.zero_shot import Likeness


def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="Pictures, folders, .jsonl of items, - for JSON lines on stdin, or what `moderation policy embed` kept.",
        ),
    ],
    texts: Annotated[list[str] | None, typer.Option("--text", help="A text to compare with; repeat for more.")] = None,
    texts_file: Annotated[
        Path | None, typer.Option("--texts", metavar="FILE", help="More texts, one a line.", dir_okay=False)
    ] = None,
    encoder: Annotated[str, typer.Option(help="The encoder's name in the settings.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Every picture as one line of JSON on stdout.")] = False,
) -> None:
    """Tell which of some texts each picture is nearest to.

    No policy is asked, and nothing is certified: a probability here is the share of one text among those that you
    gave, never how likely it is. Of two wrong texts one is always nearest. Leaves with exit code 13 where not one picture could be looked at.

    Example: moderation classify pictures/ --text "a photo of a dog" --text "a photo of a cat"
    """
    from moderation import assemble
    from moderation.cli.pictures import Told, named, pictures
    from moderation.cli.query import embed_queries, of_words
    from moderation.embedding.zero_shot import zero_shot
    from moderation.settings import load_settings

    # A text given twice is one: else its probability would be split in two.
    asked = list(dict.fromkeys([*(texts or ()), *(_lines(texts_file) if texts_file else ())]))
    if not asked:
        raise typer.BadParameter("expected at least one --text, or --texts FILE")
    queries, settings = of_words(asked), load_settings()
    wanted = named(paths, max_bytes=settings.images.max_bytes)
    with terminal.working("loading the encoder"):
        embedder = assemble.embedder(settings, encoder)
    told, words = Told(), embed_queries(queries, embedder)
    nearest: list[tuple[str, Likeness]] = []  # names alone: a picture may hold its content
    for batch in pictures(wanted, embedder, told):
        for at, scores in enumerate(zero_shot(asked, words=words, pictures=batch.vectors)):
            picture = batch.picture(at)
            if as_json:
                terminal.write(terminal.json_line(_plain(picture, scores)))
            else:
                nearest.append((picture.name, max(scores, key=lambda one: one.similarity)))
    if nearest:
        _print(asked, nearest)
    told.print(to_stderr=as_json)
    told.leave()


def _plain(picture: Picture, scores: Sequence[Likeness]) -> dict[str, Any]:
    """A picture and its likeness to each text, ready for JSON; the scores as the server gives them."""
    return {**picture.to_dict(), "scores": [one.to_dict() for one in scores]}


def _print(asked: Sequence[str], nearest: Sequence[tuple[str, Likeness]]) -> None:
    """Each picture with its nearest text, and how many each text is nearest to."""
    rows = [[name, best.text, f"{best.similarity:.4f}", f"{best.probability:.4f}"] for name, best in nearest]
    terminal.table(["picture", "nearest text", "similarity", "probability"], rows)
    counts = Counter(best.text for _, best in nearest)
    terminal.table(["text", "nearest to"], [[text, counts[text]] for text in asked])


def _lines(path: Path) -> list[str]:
    """The texts of a file, one a line, blank lines aside. Raises DataError where it cannot be read."""
    from moderation.errors import DataError, Problem

    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        told = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError([Problem(path, 0, 0, "D000", f"cannot be read: {told}")]) from None
