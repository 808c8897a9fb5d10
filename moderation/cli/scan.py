"""`moderation scan`: decisions on files, folders and JSON lines, by the very pipeline that a stream uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from moderation.cli import terminal
from moderation.cli.chosen import Only, Trace, chosen_settings
from moderation.cli.places import in_a_folder

if TYPE_CHECKING:
    from moderation.cli.sources import Entry, Found
    from moderation.decision import Decision, Verdict
    from moderation.errors import ItemError
    from moderation.item import ContentItem
    from moderation.pipeline import Pipeline
    from moderation.plugin.brought import Plugins
    from moderation.settings import Settings

BATCH = 32


def scan(  # noqa: PLR0917 - typer passes options by name
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Files, folders, .jsonl of items, or - for JSON lines on stdin."),
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
    only: Only = None,
    trace: Trace = False,
) -> None:
    """Decide on pictures and texts under one or more certified policies.

    Every item gets a decision: what cannot be read or decoded is an error under each policy, never left out.
    Leaves with 0 whatever was found, unless the run itself failed.

    An item as JSON: {"id": "1", "path": "a.jpg"} or {"id": "2", "text": "..."} or {"id": "3", "parts": [...]}.

    Example: moderation scan pictures/ --policy policies/weapons.yaml --out decisions.jsonl
    """
    from moderation import assemble
    from moderation.cli.sources import find
    from moderation.cli.summary import Summary
    from moderation.plugin.readers import reads_videos

    if quiet and as_json:
        raise typer.BadParameter("expected either --quiet or --json; --out FILE writes decisions beside --quiet")
    with ExitStack() as stack:
        settings = stack.enter_context(chosen_settings(only, trace=trace))
        known = stack.enter_context(closing(assemble.plugins(settings)))
        videos = settings.readers.most_bytes if reads_videos(known, settings.readers) else 0
        found = find(paths, max_bytes=settings.images.max_bytes, video_bytes=videos)
        pipeline = _pipeline(policies, settings, known)
        summary = Summary(settings.actions, found.left_alone)
        file = stack.enter_context(terminal.replacing(out)) if out else None
        advance = stack.enter_context(terminal.progress("deciding", found.total))
        for decision in _decisions(found, pipeline, settings.actions, advance, quiet=quiet):
            summary.add(decision)
            _write(decision, file=file, as_json=as_json, quiet=quiet)
    summary.print(to_stderr=as_json)
    if summary_file:
        with terminal.replacing(summary_file) as file:
            terminal.emit(summary.to_dict(), to=file)


def _pipeline(policies: Sequence[Path], settings: Settings, known: Plugins) -> Pipeline:
    """The pipeline under these policies; says which of them have no threshold."""
    from moderation import assemble
    from moderation.cli.lock_words import UNCERTIFIED
    from moderation.cli.locks import find_lock

    locks = [find_lock(path, settings) for path in policies]
    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, locks, known=known, counter=assemble.quota_counter(settings))
    for running in pipeline.running.policies:
        if not running.terms.cuts:
            terminal.note(f"policy {running.terms.policy!r}: {UNCERTIFIED}")
    return pipeline


def _decisions(
    found: Found, pipeline: Pipeline, actions: Sequence[str], advance: terminal.Advance, *, quiet: bool
) -> Iterator[Decision]:
    """One decision for each entry, batch by batch."""
    from moderation.cli.sources import batches

    for batch in batches(found.entries, BATCH):
        yield from _decide(pipeline, batch, actions, quiet=quiet)
        advance(len(batch))


def _decide(pipeline: Pipeline, batch: Sequence[Entry], actions: Sequence[str], *, quiet: bool) -> list[Decision]:
    """One decision for each entry, in order: the pipeline's, or an error under every policy for what has no content."""
    from moderation.errors import ItemError

    items: list[ContentItem] = []
    unread: dict[int, ItemError] = {}
    for number, entry in enumerate(batch):
        try:
            items.append(entry.read())
        except ItemError as error:
            unread[number] = error
            if not quiet:
                terminal.note(terminal.one_line(f"{entry.id}: {error}"))
    decided = iter(pipeline.decide(items) if items else ())
    return [
        _refuse(pipeline, entry.id, unread[number], actions) if number in unread else next(decided)
        for number, entry in enumerate(batch)
    ]


def _refuse(pipeline: Pipeline, item: str, error: ItemError, actions: Sequence[str]) -> Decision:
    """The decision on an item whose content is not there: an error under every policy, by the one rule for errors."""
    from moderation.decision import Abstention
    from moderation.policy.decide import Finding, answer, judge

    missing = [Finding("", Abstention(error.reason, cause=error.cause))]
    verdicts = tuple(judge(one.terms, missing, parts=1, order=actions) for one in pipeline.running.policies)
    return answer(item, verdicts, actions, encoders={})


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
