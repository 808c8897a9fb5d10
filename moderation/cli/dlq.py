"""`moderation dlq`: dead letters counted, looked at, and sent back to the topic that they came from."""

from __future__ import annotations

import datetime as dt
import heapq
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation.cli import terminal
from moderation.cli.places import Json, in_a_folder
from moderation.whole import written_whole

if TYPE_CHECKING:
    from moderation.stream.batch import Record
    from moderation.stream.letters import Choice, Found, Letter
    from moderation.stream.replay import Plan

app = typer.Typer(no_args_is_help=True, help="See dead letters, and send them back once their cause is gone.")

PLACE = "PARTITION:OFFSET"
Config = Annotated[
    Path, typer.Argument(metavar="CONFIG.toml", help="The settings of the worker, or of what delivers.", dir_okay=False)
]
Stages = Annotated[
    list[str] | None,
    typer.Option("--stage", help="Only of this stage: decode, fetch, publish, crash, deliver; repeat for more."),
]
Causes = Annotated[list[str] | None, typer.Option("--cause", help="Only with this cause, such as not_json; repeat.")]
Since = Annotated[str | None, typer.Option(help="Only set aside then or later, such as 2026-08-31T12:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="Only set aside before then.")]


@app.command("list")
def list_(  # noqa: PLR0917 - typer passes options by name
    config: Config,
    stage: Stages = None,
    cause: Causes = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=0, help="How many to show, the newest.")] = 20,
    as_json: Json = False,
) -> None:
    """Count the dead letters that wait, by stage and cause, and show the newest. Their content is never shown.

    Example: moderation dlq list worker.toml --stage decode --since 2026-08-31T00:00:00Z
    """
    from moderation import assemble
    from moderation.settings import load_settings

    choice = _choice([], stage, cause, since, until)
    counts: Counter[tuple[str, str]] = Counter()
    replayed = 0

    def waiting(found: Found) -> Iterator[Letter]:
        nonlocal replayed
        for one in found:
            if one.replayed:
                replayed += 1
            else:
                counts[one.told.stage.value, one.told.cause] += 1
                yield one

    with assemble.dead_letters(load_settings(config)) as topic:
        found = topic.find(choice)
        walk = waiting(found)
        newest = heapq.nlargest(limit, walk, key=lambda one: (one.set_aside_ms, one.place))[::-1]
        deque(walk, maxlen=0)  # which a limit of 0 has not looked at
    _tell_list(topic.name, counts, newest, replayed=replayed, foreign=found.foreign, as_json=as_json)


@app.command()
def show(
    config: Config,
    place: Annotated[str, typer.Argument(metavar=PLACE, help="Where it lies, as list shows it.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the record's value to this file, byte for byte, for your eyes only.",
            dir_okay=False,
            callback=in_a_folder,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is known of one dead letter: why and where it failed, how often, under which revisions. Its content only goes to --out.

    Example: moderation dlq show worker.toml 0:17 --out record.bin
    """
    from moderation import assemble
    from moderation.settings import load_settings
    from moderation.stream.letters import Choice

    where = _place(place)
    with assemble.dead_letters(load_settings(config)) as topic:
        letters = list(topic.find(Choice(places={where})))
        records = list(topic.records([where])) if letters else []
    if not records:
        raise typer.BadParameter(f"there is no dead letter at {place} in topic {topic.name!r}", param_hint=PLACE)
    _tell_one(letters[0], records[0], as_json=as_json)
    if out is not None:
        _write(records[0], letters[0], out)


@app.command()
def replay(  # noqa: PLR0917 - typer passes options by name
    config: Config,
    places: Annotated[list[str] | None, typer.Argument(metavar=PLACE, help="Only these; else all that fit.")] = None,
    stage: Stages = None,
    cause: Causes = None,
    since: Since = None,
    until: Until = None,
    most_replays: Annotated[int, typer.Option(min=1, help="Leave those that failed again after so many replays.")] = 3,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only told what would be done.")] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters back to the topic that they came from, with key, value and headers as they were, each once.

    Where the brokers have transactions, a letter goes back exactly once, whatever fails: run it again, and what was sent back is known.

    Example: moderation dlq replay worker.toml --stage decode --yes
    """
    from moderation import assemble
    from moderation.settings import load_settings

    settings = load_settings(config)
    choice = _choice(places or [], stage, cause, since, until)
    inputs = assemble.stream_settings(settings).inputs
    if yes:
        with assemble.replay(settings) as back, assemble.dead_letters(settings) as topic:
            made = _planned(topic.find(choice), choice, inputs, most_replays)
            done = 0
            try:
                for count in back.send(topic.records([one.place for one in made.letters])):
                    done += count
            finally:
                if done < len(made.letters):
                    terminal.note(
                        f"{terminal.counted(done, 'letter')} went back; what did not will, when this is run again"
                    )
    else:
        with assemble.dead_letters(settings) as topic:
            made = _planned(topic.find(choice), choice, inputs, most_replays)
    _tell_replay(topic.name, made, done=yes, as_json=as_json)


def _planned(found: Found, choice: Choice, inputs: tuple[str, ...], most_replays: int) -> Plan:
    from moderation.stream.replay import plan

    letters = sorted(found, key=lambda one: one.place)
    lacking = set(choice.places) - {one.place for one in letters}
    if lacking:
        named = ", ".join(str(one) for one in sorted(lacking))
        raise typer.BadParameter(f"there is no dead letter that fits at {named}", param_hint=PLACE)
    return plan(letters, inputs=inputs, most_replays=most_replays)


def _choice(
    places: list[str], stages: list[str] | None, causes: list[str] | None, since: str | None, until: str | None
) -> Choice:
    from moderation.stream.dead_letter import Stage
    from moderation.stream.letters import Choice

    for one in stages or ():
        if one not in {stage.value for stage in Stage}:
            raise typer.BadParameter(f"found {one!r}; expected {', '.join(Stage)}", param_hint="--stage")
    return Choice(
        places=frozenset(_place(one) for one in places),
        stages=frozenset(stages or ()),
        causes=frozenset(causes or ()),
        since_ms=_milliseconds(since, "--since"),
        until_ms=_milliseconds(until, "--until"),
    )


def _place(text: str) -> Any:
    from moderation.stream.letters import Place

    try:
        return Place.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=PLACE) from None


def _milliseconds(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise typer.BadParameter(
            f"found {text!r}; expected a time with its zone, such as 2026-08-31T12:00:00Z", param_hint=option
        )
    return round(1000 * time.timestamp())


def _time(milliseconds: int) -> str:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tell_list(
    topic: str, counts: Counter[tuple[str, str]], newest: list[Letter], *, replayed: int, foreign: int, as_json: bool
) -> None:
    waiting = counts.total()
    if as_json:
        rows = [{"stage": stage, "cause": cause, "letters": n} for (stage, cause), n in sorted(counts.items())]
        told = {"topic": topic, "waiting": waiting, "replayed": replayed, "foreign": foreign}
        terminal.emit({"schema": "dead-letters/v1", **told, "counts": rows, "newest": [_plain(one) for one in newest]})
        return
    terminal.say(f"{topic}: {terminal.counted(waiting, 'letter')} waiting, {replayed} replayed")
    if foreign:
        terminal.say(f"{terminal.counted(foreign, 'record')} in it are no dead letters of ours")
    if counts:
        columns = ["stage", "cause", "letters"]
        terminal.table(columns, [[*kind, count] for kind, count in counts.most_common()])
    if newest:
        terminal.say()
        columns = ["place", "set aside", "stage", "cause", "attempts", "replays", "bytes", "from"]
        terminal.table(columns, [_row(one) for one in newest])
    if len(newest) < waiting:
        terminal.say(f"the newest {len(newest)} of {waiting}; --limit shows more")


def _row(letter: Letter) -> list[Any]:
    told = letter.told
    origin = f"{told.origin} at {told.offset}"
    first = [letter.place, _time(letter.set_aside_ms), told.stage.value, told.cause]
    return [*first, told.attempts, told.replays, letter.size, origin]


def _plain(letter: Letter) -> dict[str, Any]:
    told = letter.told
    return {
        "place": str(letter.place),
        "stage": told.stage.value,
        "cause": told.cause,
        "message": told.message,
        "attempts": told.attempts,
        "replays": told.replays,
        "revisions": told.revisions,
        "worker": told.worker,
        "from": {"topic": told.origin.topic, "partition": told.origin.number, "offset": told.offset},
        "written": _time(told.timestamp_ms),
        "first_failed": _time(told.first_failed_ms),
        "set_aside": _time(letter.set_aside_ms),
        "bytes": letter.size,
        "whole": letter.whole,
        "replayed": letter.replayed,
    }


def _tell_one(letter: Letter, record: Record, *, as_json: bool) -> None:
    from moderation.stream.dead_letter import original

    told = _plain(letter)
    told["key_bytes"] = None if record.key is None else len(record.key)
    told["value_bytes"] = None if record.value is None or not letter.whole else len(record.value)
    told["headers"] = [{"name": name, "bytes": len(value)} for name, value in original(record)]
    if as_json:
        terminal.emit({"schema": "dead-letter/v1", **told})
        return
    origin = f"{letter.told.origin} at {letter.told.offset}"
    headers = ", ".join(f"{one['name']} ({one['bytes']} bytes)" for one in told["headers"])
    for name, value in {**told, "from": origin, "headers": headers or "none"}.items():
        terminal.say(f"{name.replace('_', ' '):14}{'none' if value is None else value}")


def _write(record: Record, letter: Letter, path: Path) -> None:
    if record.value is None or not letter.whole:
        why = "the record has no value" if letter.whole else "the record was too large to be kept"
        raise typer.BadParameter(f"nothing to write: {why}", param_hint="--out")
    with written_whole(path, private=True) as beside:
        beside.write_bytes(record.value)
    terminal.note(f"wrote {path}")


def _tell_replay(topic: str, made: Plan, *, done: bool, as_json: bool) -> None:
    if as_json:
        left = [{"place": str(one.place), "why": why.value} for one, why in made.obstacles]
        places = [str(one.place) for one in made.letters]
        terminal.emit({"schema": "replay/v1", "topic": topic, "done": done, "replayed": places, "left": left})
        return
    counts = Counter(one.told.origin.topic for one in made.letters)
    for target, count in sorted(counts.items()):
        terminal.say(f"{'replayed' if done else 'would replay'} {terminal.counted(count, 'letter')} to {target}")
    for why, count in Counter(why for _, why in made.obstacles).most_common():
        terminal.say(f"left {terminal.counted(count, 'letter')}: {why.value}")
    if not counts:
        terminal.say("nothing to replay")
    elif not done:
        terminal.say("nothing was done; with --yes it is")
