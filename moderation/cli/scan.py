"""`moderation scan`: decisions on files, folders and JSON lines, by the very pipeline that a stream uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from moderation.cli import terminal
from moderation.cli.chosen import Only, Trace, chosen_settings
from moderation.cli.places import in_a_folder, need

if TYPE_CHECKING:
    from moderation.decision import Decision, Verdict
    from moderation.errors import ItemError
    from moderation.plugin.brought import Plugins
    from moderation.settings import Settings
    from moderation.source.entry import Entry
    from moderation.source.find import Found


def scan(  # noqa: PLR0917 - typer passes options by name
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...", help="Files, folders, .jsonl or .parquet of items, or - for JSON lines on stdin."
        ),
    ],
    policies: Annotated[
        list[Path],
        typer.Option("--policy", help="A certified policy file, or a lock; repeat for more.", dir_okay=False),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Every decision as one line of JSON on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No line for any item: only the summary.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write every decision to this file as JSON lines.", dir_okay=False, callback=in_a_folder
        ),
    ] = None,
    summary_file: Annotated[
        Path | None,
        typer.Option(
            "--summary",
            help="Write the counts to this file as JSON, with all files left alone.",
            dir_okay=False,
            callback=in_a_folder,
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Decide on a Ray cluster: HOST:PORT, auto for the one of this machine, local for one of its own.",
        ),
    ] = None,
    ray_cores: Annotated[
        int, typer.Option("--ray-cores", min=1, help="Cores for each encoder on Ray, where there is no GPU.")
    ] = 4,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            help="With --ray, the folder for decisions as Parquet; a run that was killed goes on where it stopped.",
            file_okay=False,
        ),
    ] = None,
    only: Only = None,
    trace: Trace = False,
) -> None:
    """Decide on pictures and texts under one or more certified policies.

    Every item gets a decision: what cannot be read or decoded is an error under each policy, never left out.
    Leaves with 0 whatever was found, unless the run itself failed.

    With --ray, every machine of the cluster must see the same files under the same names.

    An item as JSON: {"id": "1", "path": "a.jpg"} or {"id": "2", "text": "..."} or {"id": "3", "parts": [...]}.

    Example: moderation scan pictures/ --policy policies/weapons.yaml --out decisions.jsonl
    """
    from moderation import assemble
    from moderation.cli.summary import Summary
    from moderation.plugin.readers import reads_videos
    from moderation.source.find import find

    if quiet and as_json:
        raise typer.BadParameter("expected either --quiet or --json; --out FILE writes decisions beside --quiet")
    if (ray is None) != (keep is None):
        raise typer.BadParameter(
            "expected --ray and --keep FOLDER together: what is decided is kept there, part by part"
        )
    if ray:
        need("ray", extra="ray")
    with ExitStack() as stack:
        settings = stack.enter_context(chosen_settings(only, trace=trace))
        known = stack.enter_context(closing(assemble.plugins(settings)))
        videos = settings.readers.most_bytes if reads_videos(known, settings.readers) else 0
        found = find(paths, max_bytes=settings.images.max_bytes, video_bytes=videos)
        locks = _locks(policies, settings)
        summary = Summary(settings.actions, found.left_alone)
        file = stack.enter_context(terminal.replacing(out)) if out else None
        if ray and keep:
            decisions = _on_ray(found, locks, settings, address=ray, folder=keep, cores=ray_cores)
        else:
            decisions = _here(found, locks, settings, known, quiet=quiet)
        for decision in decisions:
            summary.add(decision)
            _write(decision, file=file, as_json=as_json, quiet=quiet)
    summary.print(to_stderr=as_json)
    if summary_file:
        with terminal.replacing(summary_file) as file:
            terminal.emit(summary.to_dict(), to=file)


def _locks(policies: Sequence[Path], settings: Settings) -> list[Path]:
    """The locks of these policies; says which of them have no threshold."""
    from moderation.cli.lock_words import UNCERTIFIED
    from moderation.cli.locks import find_lock
    from moderation.policy.lock import read_lock

    locks = [find_lock(path, settings) for path in policies]
    for lock in map(read_lock, locks):
        if all(one.threshold is None for one in lock.actions):
            terminal.note(f"policy {lock.policy!r}: {UNCERTIFIED}")
    return locks


def _here(
    found: Found, locks: Sequence[Path], settings: Settings, known: Plugins, *, quiet: bool
) -> Iterator[Decision]:
    """One decision for each entry, batch by batch, by this process."""
    from moderation import assemble
    from moderation.scan import BATCH, decide_entries
    from moderation.source.find import batches

    def unread(entry: Entry, error: ItemError) -> None:
        if not quiet:
            terminal.note(terminal.one_line(f"{entry.id}: {error}"))

    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, locks, known=known, counter=assemble.quota_counter(settings))
    with terminal.progress("deciding", found.total) as advance:
        for batch in batches(found.entries, BATCH):
            yield from decide_entries(pipeline, batch, order=settings.actions, unread=unread)
            advance(len(batch))


def _on_ray(
    found: Found, locks: Sequence[Path], settings: Settings, *, address: str, folder: Path, cores: int
) -> Iterator[Decision]:
    """One decision for each entry, by the workers of a Ray cluster; they are kept in the folder, part by part."""
    from moderation.scaleout.scan import scan

    def begun(there: int, parts: int) -> None:
        if there:
            terminal.note(f"{there} of {terminal.counted(parts, 'part')} are there already")

    with terminal.progress("deciding", found.total) as advance:
        yield from scan(
            found, locks, settings, address=address, folder=folder, cores=cores, begun=begun, advance=advance
        )


def _write(decision: Decision, *, file: TextIO | None, as_json: bool, quiet: bool) -> None:
    if file or as_json:
        line = terminal.json_line(decision.to_dict())
        if file:
            file.write(line)
        if as_json:
            terminal.write(line)
    if not (as_json or quiet) and any(verdict.action for verdict in decision.verdicts):
        terminal.say(terminal.one_line(_in_words(decision)))


def _in_words(decision: Decision) -> str:
    """One line on an item that is not let through in silence: the action, what asked for it, and why."""
    reasons = []
    for verdict in decision.verdicts:
        if verdict.error:
            reasons.append(f"{verdict.policy} error: {_why(verdict)}")
        elif verdict.action and verdict.score is not None:
            carried = f" ({_carried_by(verdict)})" if _carried_by(verdict) else ""
            carried += _place(verdict)
            reasons.append(
                f"{verdict.policy} {verdict.outcome} {verdict.score:.3f} >= {verdict.threshold:.3f}{carried}"
            )
    return f"{decision.proposed:<8} {decision.item_id}  {'; '.join(reasons)}"


def _why(verdict: Verdict) -> str:
    """An error with its cause, and the detector that failed where it is not the policy's own."""
    from moderation.detector.faults import FAULTS

    failed = verdict.detector if verdict.error in FAULTS and verdict.detector != verdict.policy else None
    told = ": ".join(filter(None, (failed, verdict.cause)))
    return f"{verdict.error} ({told})" if told else f"{verdict.error}"


def _place(verdict: Verdict) -> str:
    """The part that carried the score and its place in the picture, where that is not the whole of it."""
    if verdict.region is None:
        return ""
    left, top, right, bottom = (round(100 * edge) for edge in verdict.region)
    return f" at {left}-{right} % across, {top}-{bottom} % down"


def _carried_by(verdict: Verdict) -> str:
    """The phrase that carried a score, the plugin's detector and label where it is not the policy's own, and what was derived from its part."""
    own = verdict.detector in (None, verdict.policy)
    told = ": ".join(filter(None, ("" if own else f"{verdict.detector}/{verdict.label}", verdict.concept)))
    derived = verdict.part if "#" in (verdict.part or "") else ""
    return " at ".join(filter(None, (told, derived)))
