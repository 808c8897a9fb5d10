"""`moderation cache`: what is kept of content between runs."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from moderation.cli import terminal
from moderation.cli.places import Json

PATIENCE = 30.0  # seconds that one call may take: nobody waits for a decision
_DIGEST = re.compile(r"[0-9a-f]{64}")

app = typer.Typer(no_args_is_help=True, help="What is kept of content between runs: vectors in Redis.")


@app.command()
def erase(
    contents: Annotated[
        list[str],
        typer.Argument(metavar="FILE|SHA256...", help="Content to forget: files, or digests as decisions have them."),
    ],
    as_json: Json = False,
) -> None:
    """Forget every vector of these contents in Redis, whichever encoder made it.

    Nothing but vectors is kept there. Workers also hold vectors in their own memory until they end, or need the room: start them again.
    Of an item of several parts each part is a content of its own.

    Example: moderation cache erase photo.jpg 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    """
    from moderation.embedding.erasure import erase as forget
    from moderation.embedding.redis_cache import connect
    from moderation.errors import SettingsError
    from moderation.settings import load_settings

    settings = load_settings()
    chosen = settings.cache.redis
    if chosen is None:
        raise SettingsError("settings: cache.redis: is not set, so nothing is kept beyond a process")
    digests = {_digest(one) for one in contents}
    client = connect(chosen.url.get_secret_value(), timeout_seconds=PATIENCE)
    with terminal.progress("looking at keys", None) as advance:
        erased = forget(client, digests, tenant=settings.cache.tenant, advance=advance)
    if as_json:
        terminal.emit({"schema": "cache-erase/v1", "contents": len(digests), "erased": erased})
    else:
        terminal.say(f"erased {terminal.counted(erased, 'vector')} of {terminal.counted(len(digests), 'content')}")


def _digest(named: str) -> str:
    from pathlib import Path

    from moderation.errors import DataError, Problem
    from moderation.item import content_digest

    if _DIGEST.fullmatch(named):
        return named
    try:
        return content_digest(Path(named).read_bytes())
    except OSError as error:
        message = f"cannot be read: {error.strerror}; expected a file, or a SHA-256 of 64 hex digits"
        raise DataError([Problem(Path(named), 0, 0, "D005", message)]) from None
