"""The options of commands that load plugins: which of them, and whether to tell what they are asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from moderation.settings import Settings

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="ID",
        help="Load this plugin and no others; repeat for more. Without it, those of plugins.only.",
    ),
]
Trace = Annotated[
    bool,
    typer.Option(
        "--trace", help="Tell on stderr what plugins are asked, how long it takes, and their answers in counts."
    ),
]


@contextmanager
def chosen_settings(only: Sequence[str] | None, *, trace: bool) -> Iterator[Settings]:
    """The settings, with these plugins alone where some are named; traced, as long as this lasts, where that is asked for."""
    from contextlib import nullcontext

    from moderation import telemetry
    from moderation.settings import load_settings

    settings = load_settings()
    if only:
        plugins = settings.plugins.model_copy(update={"only": tuple(only)})
        settings = settings.model_copy(update={"plugins": plugins})
    with telemetry.tracing(sys.stderr) if trace else nullcontext():
        yield settings
