"""`moderation bench encode`: an encoder's stages on this machine, and the share of its matrix rate."""

from __future__ import annotations

from typing import Annotated

import typer

from moderation.cli import terminal
from moderation.cli.places import Json


def encode(
    encoder: Annotated[str, typer.Argument(metavar="ENCODER", help="An encoder of the settings.")] = "default",
    *,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="So many items at a time; may be repeated. 1, 8 and the largest without it."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Every stage is run so often; medians are told.")] = 5,
    as_json: Json = False,
) -> None:
    """How fast an encoder is here, stage by stage: decode and resize (one thread), prepare (all threads), tower, and whole, from bytes to vectors.

    Pictures are made ones, JPEGs of 640 x 480. A tower's share is that of the best matrix product measured beside it, in its precision.

    Example: moderation bench encode default --batch 1 --batch 32
    """
    from moderation import assemble
    from moderation.encoder.bench import measure
    from moderation.settings import load_settings

    found = measure(assemble.encoder(load_settings(), encoder), batches=batch, rounds=rounds)
    if as_json:
        terminal.emit(found.to_dict())
        return
    terminal.say(
        f"{found.encoder}, {found.numeric}: {found.threads} threads, matrix rate {found.matrix_gflops:g} GFLOP/s"
    )
    rows = [
        [f"{one.modality} {one.name}", one.batch, f"{one.rate:g}", "" if one.share is None else f"{one.share:.2f}"]
        for one in found.stages
    ]
    terminal.table(["stage", "batch", "items/s", "share of the matrix rate"], rows)
