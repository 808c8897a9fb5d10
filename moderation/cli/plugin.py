"""`moderation plugin`: a plugin to start from; which plugins are installed, what each one brings, and whether it works."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation.cli import terminal
from moderation.cli.chosen import Only, Trace, chosen_settings
from moderation.errors import ExitCode

if TYPE_CHECKING:
    from moderation.plugin.brought import PluginRecord
    from moderation.plugin.check import Trial

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
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="What it brings: a detector, reader, encoder, fetcher or sink.")
    ] = "detector",
    folder: Annotated[Path, typer.Option(help="Where to write the package's folder.", file_okay=False)] = Path(),
) -> None:
    """Write a package with a plugin of one kind and its tests, which installs and passes them at once.

    Example: moderation plugin new loud-text --kind detector
    """
    from moderation.plugin.scaffold import scaffold

    try:
        written = scaffold(plugin_id, folder, kind=kind)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    for path in written:
        terminal.say(f"wrote {path}")
    terminal.say(f"next: pip install -e '{written[0].parent}[test]', then: pytest {written[0].parent}")


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")] = False,
    only: Only = None,
    trace: Trace = False,
) -> None:
    """List every plugin that was found, with its state; a broken one with its distribution and cause, and exit code 14.

    Example: moderation plugin list --json
    """
    from moderation import assemble
    from moderation.plugin.brought import PluginState

    with chosen_settings(only, trace=trace) as settings:
        records = assemble.plugins(settings).records
    _tell(records, as_json=as_json)
    if any(one.state in {PluginState.BROKEN, PluginState.MISSING} for one in records):
        raise typer.Exit(ExitCode.PLUGIN)


@app.command()
def doctor(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Plugins by id; all of them without.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")] = False,
    only: Only = None,
    trace: Trace = False,
) -> None:
    """Tell of every plugin its version, its hooks, whether it could have a process of its own, and where in its code a broken one failed.

    Exit code 14 where one is broken or not there; nothing is set up (moderation plugin check does that).

    Example: moderation plugin doctor
    """
    from moderation import assemble
    from moderation.plugin.brought import PluginState

    with chosen_settings(only, trace=trace) as settings:
        known = assemble.plugins(settings)
    found = {one.id: one for one in known.records}
    chosen = [found.get(id_) or _not_there(id_) for id_ in ids or found]
    rows = [
        {
            "id": one.id,
            "distribution": one.distribution,
            "version": one.version,
            "state": one.state.value,
            "hooks": list(one.hooks),
            "isolated": one.isolated,
            "can_be_isolated": known.can_be_isolated(one),
            "cause": one.cause,
            "place": one.place,
        }
        for one in chosen
    ]
    if as_json:
        terminal.emit({"schema": "plugin-doctor/v1", "plugins": rows})
    else:
        _tell_health(rows)
    if any(one.state in {PluginState.BROKEN, PluginState.MISSING} for one in chosen):
        raise typer.Exit(ExitCode.PLUGIN)


def _not_there(id_: str) -> PluginRecord:
    from moderation.plugin.brought import PluginRecord, PluginState

    return PluginRecord(id_, "", "", PluginState.MISSING, cause="no such plugin is installed")


def _tell_health(rows: Sequence[Mapping[str, Any]]) -> None:
    terminal.table(
        ["plugin", "from", "state", "hooks", "process of its own"],
        [
            [
                row["id"],
                f"{row['distribution']} {row['version']}",
                row["state"],
                ", ".join(row["hooks"]) or "none",
                "yes" if row["isolated"] else "possible" if row["can_be_isolated"] else "no",
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row["cause"]:
            terminal.say(f"{row['id']}: {row['cause']}{row['place'] and ' (' + row['place'] + ')'}")


@app.command()
def check(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Plugins by id; all of them without.")] = None,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="Whose width vectors have, for detectors that ask for some.")
    ] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout, keys stable.")] = False,
    only: Only = None,
    trace: Trace = False,
) -> None:
    """Try what plugins bring: set it up, show it content on which plugins break, ask it twice.

    The whole of what a plugin promises is tested by its own tests (plugins/README.md). What is isolated is tried in its process; of encoders and fetchers
    those that the settings ask for. Exit code 14 where something fails, or a plugin is broken or not there.

    Example: moderation plugin check keywords
    """
    from contextlib import closing
    from functools import cache, partial

    from moderation import assemble
    from moderation.plugin.brought import BUILTIN, PluginState
    from moderation.plugin.check import check as tried

    with chosen_settings(only, trace=trace) as settings, closing(assemble.plugins(settings)) as known:
        found = {one.id: one for one in known.records}
        wanted = ids or [id_ for id_, one in found.items() if id_ != BUILTIN and one.state is not PluginState.OFF]
        missing = {id_: found[id_].cause if id_ in found else _not_there(id_).cause for id_ in wanted}
        loaded = [one for id_ in wanted if (one := found.get(id_)) and one.state is PluginState.LOADED]
        load = cache(partial(assemble.encoder, settings, known=known))
        trials = [trial for one in loaded for trial in tried(known, one, settings, encoders=load, named=encoder)]
    absent = {id_: cause for id_, cause in missing.items() if id_ not in {one.id for one in loaded}}
    _tell_trials(trials, absent, as_json=as_json)
    if absent or any(one.fault for one in trials):
        raise typer.Exit(ExitCode.PLUGIN)


def _tell_trials(trials: Sequence[Trial], absent: Mapping[str, str], *, as_json: bool) -> None:
    if as_json:
        rows = [asdict(one) for one in trials]
        terminal.emit({"schema": "plugin-check/v1", "trials": rows, "absent": dict(absent)})
        return
    cells = [
        [
            one.plugin,
            f"{one.kind} {one.id}",
            one.step or "-",
            f"{one.seconds * 1e3:.1f}" if one.step else "-",
            one.fault or (f"not tried: {one.untried}" if one.untried else "ok"),
        ]
        for one in trials
    ]
    if cells:
        terminal.table(["plugin", "brings", "step", "ms", "result"], cells)
    for id_, cause in absent.items():
        terminal.say(f"{id_}: {cause}")


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
                "sinks": list(one.sinks),
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
