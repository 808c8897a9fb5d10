"""`moderation cache`: what is kept of content between runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.cli.places import Json

if TYPE_CHECKING:
    from moderation.reader.step import Readers

PATIENCE = 30.0  # seconds that one call may take: nobody waits for a decision
_DIGEST = re.compile(r"[0-9a-f]{64}")

app = typer.Typer(no_args_is_help=True, help="What is kept of content between runs: vectors in Redis.")


@app.command()
def erase(
    contents: Annotated[
        list[str],
        typer.Argument(metavar="FILE|SHA256", help="Content to forget: files, or digests as decisions have them."),
    ],
    as_json: Json = False,
) -> None:
    """Forget every vector of these contents in Redis, whichever encoder made it.

    Nothing but vectors is kept there. Workers also hold vectors in their own memory until they end, or need the room: start them again.
    Of an item of several parts each part is a content of its own. Of a file, what the readers in force derive from it (tiles, frames, a text) is forgotten too; of a
    digest it cannot be known.

    Example: moderation cache erase photo.jpg 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    from moderation import assemble
    from moderation.embedding.erasure import erase as forget
    from moderation.embedding.redis_cache import connect
    from moderation.errors import SettingsError
    from moderation.plugin.readers import readers_in_force
    from moderation.settings import load_settings

    settings = load_settings()
    chosen = settings.cache.redis
    if chosen is None:
        raise SettingsError("settings: cache.redis: is not set, so nothing is kept beyond a process")
    with closing(assemble.plugins(settings)) as known:
        reading = readers_in_force(known, settings.readers)
        found = [list(_digests(one, reading)) for one in contents]
    digests, named = {digest for one in found for digest in one}, len({own for own, *_ in found})
    client = connect(chosen.url.get_secret_value(), timeout_seconds=PATIENCE)
    with terminal.progress("looking at keys", None) as advance:
        erased = forget(client, digests, tenant=settings.cache.tenant, advance=advance)
    if as_json:
        terminal.emit({"schema": "cache-erase/v1", "contents": named, "erased": erased})
    else:
        terminal.say(f"erased {terminal.counted(erased, 'vector')} of {terminal.counted(named, 'content')}")


def _digests(named: str, reading: Readers | None) -> Iterator[str]:
    """Those of a content and of what is derived from it."""
    from pathlib import Path

    from moderation.errors import DataError, Problem
    from moderation.item import ContentItem, Part, content_digest

    if _DIGEST.fullmatch(named):
        yield named
        return
    try:
        content = Path(named).read_bytes()
    except OSError as error:
        message = f"cannot be read: {error.strerror}; expected a file, or a SHA-256 of 64 hex digits"
        raise DataError([Problem(Path(named), 0, 0, "D005", message)]) from None
    yield content_digest(content)
    if reading:
        (item,) = reading.read([ContentItem(named, (Part.from_file(Path(named), content),))])
        yield from (part.digest for part in item.parts if not part.unread)
