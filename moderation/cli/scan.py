"""`moderation scan`: decisions on files, folders and JSON lines, by the very pipeline that a stream uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from moderation.cli import terminal
from moderation.cli.chosen import Only, Trace, chosen_settings
from moderation.cli.scan_options import Address, Cores, Keep, Lines, Out, Paths, Policies, Quiet, Report, SummaryFile
from moderation.extras import need

if TYPE_CHECKING:
    from moderation.cli.scan_sheet import Sheet
    from moderation.cli.summary import Summary
    from moderation.decision import Decision, Verdict
    from moderation.errors import ItemError
    from moderation.pipeline import Pipeline
    from moderation.plugin.brought import Plugins
    from moderation.policy.lock import Lock
    from moderation.settings import Settings
    from moderation.source.entry import Entry
    from moderation.source.find import Found

    Decided = tuple[Entry | None, Decision]


def scan(
    paths: Paths,
    policies: Policies,
    *,
    as_json: Lines = False,
    quiet: Quiet = False,
    out: Out = None,
    summary_file: SummaryFile = None,
    report: Report = None,
    ray: Address = None,
    ray_cores: Cores = 4,
    keep: Keep = None,
    only: Only = None,
    trace: Trace = False,
) -> None:
    """Decide on pictures and texts under one or more certified policies.

    Every item gets a decision: what cannot be read or decoded is an error under each policy, never left out.
    Leaves with 0 whatever was found, unless the run itself failed.

    With --ray, every machine of the cluster must see the same files under the same names.

    An item as JSON: {"id": "1", "path": "a.jpg"} or {"id": "2", "text": "..."} or {"id": "3", "parts": [...]}.

    Example: moderation scan pictures/ --policy policies/weapons.yaml --report scan.html --out decisions.jsonl
    """
    from moderation import assemble
    from moderation.cli.summary import Summary
    from moderation.plugin.readers import reads_videos
    from moderation.source.find import find

    if quiet and as_json:
        raise typer.BadParameter("expected either --quiet or --json; --out FILE writes decisions beside --quiet")
    _check_ray(ray, keep)
    with ExitStack() as stack:
        settings = stack.enter_context(chosen_settings(only, trace=trace))
        known = stack.enter_context(closing(assemble.plugins(settings)))
        videos = settings.readers.most_bytes if reads_videos(known, settings.readers) else 0
        found = find(paths, max_bytes=settings.images.max_bytes, video_bytes=videos)
        locks = _locks(policies, settings)
        sheet = _sheet(locks, settings) if report else None
        file = stack.enter_context(terminal.replacing(out)) if out else None
        if ray and keep:
            decided = _on_ray(
                found, locks, settings, address=ray, folder=keep, cores=ray_cores, named=report is not None
            )
        else:
            decided = _here(found, locks, settings, known, quiet=quiet)
        summary = Summary(settings.actions, found.left_alone, found.kinds)  # which begins to count seconds
        for entry, decision in decided:
            summary.add(decision)
            if sheet:
                sheet.add(decision, entry)
            _write(decision, file=file, as_json=as_json, quiet=quiet)
            del entry  # a row of a table holds its content
    summary.print(to_stderr=as_json)
    _write_files(summary, sheet, summary_file=summary_file, report=report)


def _check_ray(address: str | None, folder: Path | None) -> None:
    """What a scan on Ray takes, before any work is done."""
    if (address is None) != (folder is None):
        raise typer.BadParameter(
            "expected --ray and --keep FOLDER together: what is decided is kept there, part by part"
        )
    if address:
        need("ray", extra="ray")


def _sheet(locks: Sequence[Path], settings: Settings) -> Sheet:
    from moderation.cli.scan_sheet import Sheet
    from moderation.policy.lock import read_lock

    return Sheet([read_lock(one) for one in locks], settings.actions, settings.images)


def _write_files(summary: Summary, sheet: Sheet | None, *, summary_file: Path | None, report: Path | None) -> None:
    """What is told of the run as a whole, where that was asked for."""
    told = summary.to_dict()
    if summary_file:
        with terminal.replacing(summary_file) as file:
            terminal.emit(told, to=file)
    if sheet and report:
        from moderation.cli.scan_sheet import render_scan

        with terminal.replacing(report) as file:
            file.write(render_scan(sheet, told))


def _locks(policies: Sequence[Path], settings: Settings) -> list[Path]:
    """The locks of these policies; says once which of them have no threshold, and what brings some."""
    from moderation.cli import lock_words
    from moderation.cli.locks import find_lock
    from moderation.policy.lock import read_lock

    locks = [find_lock(path, settings) for path in policies]
    for path, place in zip(policies, locks, strict=True):
        lock = read_lock(place)
        if all(one.threshold is None for one in lock.actions):
            step = lock_words.to_certify(lock, *((path, None) if path != place else _policy_of(lock, place)))
            terminal.note(f"policy {lock.policy!r}: {lock_words.UNCERTIFIED}; {step}")
    return locks


def _policy_of(lock: Lock, place: Path) -> tuple[Path, Path | None]:
    """The policy's file as far as its lock can tell, and the folder to name where the file is not beside the lock."""
    beside = place.with_name(f"{lock.policy}.yaml")
    return (beside, None) if beside.exists() else (Path(beside.name), place.parent)


def _here(found: Found, locks: Sequence[Path], settings: Settings, known: Plugins, *, quiet: bool) -> Iterator[Decided]:
    """Each entry with its decision, by this process; the encoder is loaded at once, and nothing decided before the first is asked for."""
    from moderation import assemble

    with terminal.working("loading the encoder"):
        pipeline = assemble.pipeline(settings, locks, known=known, counter=assemble.quota_counter(settings))
    return _decided(found, pipeline, quiet=quiet)


def _decided(found: Found, pipeline: Pipeline, *, quiet: bool) -> Iterator[Decided]:
    from moderation.scan import decide_entries

    def unread(entry: Entry, error: ItemError) -> None:
        if not quiet:
            terminal.note(terminal.one_line(f"{entry.id}: {error}"))

    with terminal.progress("deciding", found.total) as advance:
        for entry, decision in decide_entries(pipeline, found.entries, unread=unread):
            yield entry, decision
            del entry
            advance(1)


def _on_ray(
    found: Found, locks: Sequence[Path], settings: Settings, *, address: str, folder: Path, cores: int, named: bool
) -> Iterator[Decided]:
    """Each decision, by the workers of a Ray cluster, who keep them in the folder, part by part; with its entry, walked once more, where those are to be `named`."""
    from moderation.scaleout.scan import scan

    def begun(there: int, parts: int) -> None:
        if there:
            terminal.note(f"{there} of {terminal.counted(parts, 'part')} are there already")

    with terminal.progress("deciding", found.total) as advance:
        decisions = scan(
            found, locks, settings, address=address, folder=folder, cores=cores, begun=begun, advance=advance
        )
        yield from zip(chain(found.entries if named else (), repeat(None)), decisions, strict=False)


def _write(decision: Decision, *, file: TextIO | None, as_json: bool, quiet: bool) -> None:
    from moderation.policy.decide import UNCERTIFIED  # what was said once of the policy needs no line for each item

    if file or as_json:
        line = terminal.json_line(decision.to_dict())
        if file:
            file.write(line)
        if as_json:
            terminal.write(line)
    if not (as_json or quiet) and any(one.action and one.error != UNCERTIFIED for one in decision.verdicts):
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
