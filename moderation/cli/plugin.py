"""`moderation plugin`: a plugin to start from; which plugins are installed, and what each one brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.errors import ExitCode

if TYPE_CHECKING:
    from moderation.plugin.brought import PluginRecord

app = typer.Typer(no_args_is_help=True, help="Start a plugin; see which are installed and what each one brings.")


@app.callback()
def _group() -> None:
    """Start a plugin; see which are installed and what each one brings."""


@app.command()
def new(
    plugin_id: Annotated[
        str,
        typer.Argument(metavar="ID", help="Lower-case letters and digits, single dashes or underscores between."),
    ],
    folder: Annotated[Path, typer.Option(help="Where to write the package's folder.", file_okay=False)] = Path(),
) -> None:
    """Write a package with one detector and its tests, which installs and passes them at once.

    Example: moderation plugin new loud-text
    """
    from moderation.plugin.scaffold import scaffold

    try:
        written = scaffold(plugin_id, folder)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="ID") from None
    for path in written:
        terminal.say(f"wrote {path}")
    terminal.say(f"next: pip install -e '{written[0].parent}[test]', then: pytest {written[0].parent}")


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")] = False,
) -> None:
    """List every plugin that was found, with its state; a broken one with its distribution and cause, and exit code 14.

    Example: moderation plugin list --json
    """
    from moderation import assemble
    from moderation.plugin.brought import PluginState
    from moderation.settings import load_settings

    records = assemble.plugins(load_settings()).records
    _tell(records, as_json=as_json)
    if any(one.state in {PluginState.BROKEN, PluginState.MISSING} for one in records):
        raise typer.Exit(ExitCode.PLUGIN)


def _tell(records: Sequence[PluginRecord], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "id": one.id,
                "distribution": one.distribution,
                "version": one.version,
                "state": one.state.value,
                "detectors": list(one.detectors),
                "readers": list(one.readers),
                "encoders": list(one.encoders),
                "fetchers": list(one.fetchers),
                "isolated": one.isolated,
                "cause": one.cause,
            }
            for one in records
        ]
        terminal.emit({"schema": "plugins/v1", "plugins": rows})
        return
    columns = ["plugin", "state", "brings", "from"]
    terminal.table(
        columns,
        [[one.id, _state(one), one.kind or "nothing", f"{one.distribution} {one.version}"] for one in records],
    )
    for one in records:
        if one.cause:
            terminal.say(f"{one.id}: {one.cause}")


def _state(record: PluginRecord) -> str:
    return f"{record.state}, isolated" if record.isolated else record.state
