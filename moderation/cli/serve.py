"""`moderation serve`: decisions and vectors over HTTP, until it is told to stop."""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path
from typing import Annotated

import typer

from moderation.extras import SERVER, need

_log = logging.getLogger(__name__)


def serve(
    config: Annotated[
        Path | None, typer.Argument(metavar="CONFIG.toml", help="Settings with the section serve.", dir_okay=False)
    ] = None,
    *,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Print a new key for a caller, and its SHA-256 for the settings, and end.")
    ] = False,
) -> None:
    """Answer OpenAI's clients (moderations, embeddings), and ours (decisions, classify), until SIGTERM or SIGINT.

    What is in work is answered first. What could not be answered in time is refused at once, with 429 and Retry-After.

    Example: moderation serve serve.toml
    """
    if new_key:
        key = f"mod-{secrets.token_urlsafe(32)}"
        typer.echo(f'key: {key}\n\n[serve.keys.NAME]\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"')
        return
    if config is None:
        raise typer.BadParameter("expected a settings file", param_hint="CONFIG.toml")
    need(*SERVER, extra="serve")
    from moderation import telemetry
    from moderation.assemble_serve import serve_settings, server
    from moderation.cli.process import settled_heap
    from moderation.server.listen import bound, listen
    from moderation.settings import load_settings

    settings = load_settings(config)
    own = serve_settings(settings)
    telemetry.start(own.log)
    # A port that is taken is told at once.
    with bound(own) as taken, server(settings, folder=config.parent, file=config) as app, settled_heap():
        listen(app, own, taken)
    _log.info("stopped in good order")
