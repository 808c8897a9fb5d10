"""`moderation plugin`: which plugins are installed, and what each one brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.errors import ExitCode

if TYPE_CHECKING:
    from moderation.plugin.manager import PluginRecord

app = typer.Typer(no_args_is_help=True, help="See which plugins are installed and what each one brings.")


@app.callback()
def _group() -> None:
    """See which plugins are installed and what each one brings."""


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")] = False,
) -> None:
    """List every plugin that was found, with its state; a broken one with its distribution and cause, and exit code 14.

    Example: moderation plugin list --json
    """
    from moderation import assemble
    from moderation.plugin.manager import PluginState
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
