"""`moderation-onnx`: a checkpoint's towers into a folder of ONNX files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from moderation.cli import terminal
from moderation.errors import ModerationError

app = typer.Typer(no_args_is_help=True, help="Run encoders on ONNX Runtime.")


@app.callback()
def _commands() -> None:
    """One command today; this keeps its name on the line."""


@app.command()
def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help='"bundled", a folder, "package:NAME", or a hub id.')
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; a new one.")],
) -> None:
    """Write the towers of a checkpoint as ONNX, compared with torch's, beside a manifest with the encoder's identity.

    Example: moderation-onnx export bundled -o models/bundled-onnx
    """
    from moderation_onnx.export import export as write

    try:
        manifest = write(checkpoint, out)
    except FileExistsError:
        raise typer.BadParameter(f"{out} is there already; name a new folder", param_hint="--out") from None
    rows = [[name, f"{(out / name).stat().st_size:,}", digest[:12]] for name, digest in manifest.files.items()]
    terminal.table(["file", "bytes", "sha256"], rows)
    terminal.say(f"identity {manifest.identity}, opset {manifest.opset}")


def main() -> None:
    """Run the command; an error of ours is a message, any other keeps its traceback."""
    try:
        app(prog_name="moderation-onnx")
    except ModerationError as failure:
        terminal.error(failure)
        sys.exit(int(failure.exit_code))
