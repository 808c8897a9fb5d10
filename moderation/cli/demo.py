"""`moderation demo`: the shipped policies, from their words to decisions on a stream of pictures and a page that shows them."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moderation.cli import terminal

if TYPE_CHECKING:
    from moderation.cli.demo_run import Workshop
    from moderation.release.achieved import Achieved
    from moderation.release.report import Judged, Run


def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Where locks, decisions and the report go.", file_okay=False)
    ] = Path("moderation-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="What came out as JSON on stdout.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="A broker: the items also go through a worker on it.")
    ] = None,
) -> None:
    """Turn three shipped policies into decisions on pictures: lint, compile, certify, test, audit, release, scan, report.

    The pictures come with the package; nothing is fetched. With a broker, such as `make services` starts, the same items also go
    through a worker, in topics that are deleted afterwards. A policy that has too few targets is not an error here:
    the demo says how many more it needs.

    Example: moderation demo --out build/demo --open
    """
    started = time.perf_counter()
    tell = terminal.note if as_json else terminal.say
    # Before the heavy imports, and through any pipe: the first seconds show nothing else.
    tell(
        f"demo     three shipped policies, from words to decisions on pictures and {out / 'report.html'}; first the encoder loads"
    )
    sys.stdout.flush()
    from moderation.cli.demo_run import Workshop, write_decisions
    from moderation.release.report import render_report

    with terminal.working("loading the encoder"):
        workshop = Workshop.open(out)
    tell(f"encoder  {workshop.encoder_in_words()}")
    tell(f"lint     {workshop.lint()}")
    runs = [_build(workshop, path, tell) for path in workshop.policies]
    stream = workshop.scan(runs)
    decisions = write_decisions(stream, out)
    tell(_scan_in_words(workshop, stream))
    if kafka:
        from moderation.cli.demo_stream import in_words, run_worker

        locks = [workshop.lock_file(run.policy) for run in runs]
        tell(f"stream   {in_words(run_worker(stream, locks, kafka=kafka, out=out), kafka)}")
    results = {run.policy.id: workshop.check(run, stream) for run in runs}
    for policy, found in results.items():
        for one in found:
            tell(f"check    {policy}: {check_in_words(one)}")
    page = out / "report.html"
    with terminal.replacing(page) as file:
        file.write(
            render_report(
                runs, stream, card=workshop.card, fingerprint=workshop.fingerprint, order=workshop.settings.actions
            )
        )
    tell(f"report   {page} (decisions: {decisions}) after {time.perf_counter() - started:.0f} s")
    if as_json:
        terminal.emit(_summary(workshop, runs, stream, results=results, page=page, decisions=decisions))
    if open_page:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def _build(workshop: Workshop, path: Path, tell: Any) -> Run:
    """One policy through compile, certify and test, told as it goes."""
    from moderation.cli.lock_words import merged, promise
    from moderation.release.asked import asked_in_words

    policy, compiled = workshop.compile(path)
    tell(f"compile  {policy.id}: {workshop.compiled_in_words(policy, compiled)}")
    run = workshop.certify(policy, compiled)
    for action in run.lock.actions:
        tell(f"certify  {policy.id}: {promise(action)}")
    for line in merged(run.lock.evidence):
        tell(f"certify  {policy.id}: {line}")
    tell(f"certify  {policy.id}: {asked_in_words(run.lock.evidence)}")
    if run.tests is None:
        tell(f"test     {policy.id}: no threshold to test; what it needs is the answer")
    else:
        counts = run.tests.to_dict()["counts"]
        told = ", ".join(f"{count} {_STATUS[status]}" for status, count in counts.items() if count)
        tell(f"test     {policy.id}: {told}")
        _release(workshop, run, tell)
    return run


def _release(workshop: Workshop, run: Run, tell: Any) -> None:
    """What was certified and tested, audited where it says how, and made live where nothing stands in the way."""
    from moderation.audit.gaps import Verdict
    from moderation.release.record import Record

    policy = run.policy
    if (audit := workshop.audit(run)) is not None:
        known = [one for one in audit.harms if one.verdict is not Verdict.NOT_ASSESSED]
        for one in known:
            tell(f"audit    {policy.id}: {one.name} by {one.attribute}: {one.verdict.value}: {one.reason}")
        unknown = ", ".join(f"{one.name} by {one.attribute}" for one in audit.harms if one not in known)
        told = f"not assessed, for want of items: {unknown}; " if unknown else ""
        tell(f"audit    {policy.id}: {told}all of it in {workshop.audit_page(policy)}")
    found = workshop.release(run)
    if isinstance(found, Record):
        tell(f"release  {policy.id}: live, on the evidence of revision {run.lock.revision}: from here on it may act")
    else:
        tell(f"release  {policy.id}: stays a draft: {'; '.join(f'{one.gate}: {one.why}' for one in found)}")


_STATUS = {"passed": "passed", "failed": "FAILED", "todo": "known gaps", "promote": "known gaps that pass now"}


def _scan_in_words(workshop: Workshop, stream: Sequence[Judged]) -> str:
    hits = sum(one.decision.cache_hit for one in stream)
    pictures = len({one.picture for one in stream})
    actions: dict[str, int] = {}
    for one in stream:
        actions[one.decision.proposed] = actions.get(one.decision.proposed, 0) + 1
    told = ", ".join(f"{actions[name]} {name}" for name in workshop.settings.actions if name in actions)
    return f"scan     {len(stream)} items of {pictures} pictures in {workshop.scan_seconds:.1f} s, {hits} from the cache: {told}"


def check_in_words(one: Achieved) -> str:
    """One promise beside what the stream showed of it, for people."""
    shown = one.share
    if shown.value is None:
        return f"{one.action}: promised {one.metric} {one.promised:g}; nothing came that could be counted"
    verdict = "leaves room for it" if one.agrees else "BELOW it"
    return (
        f"{one.action}: promised {one.metric} {one.promised:g}; on the stream {shown.hits} of {shown.trials} objects, "
        f"{shown.value:.3f} ({shown.low:.3f} to {shown.high:.3f}): {verdict} "
        f"(of all items, more pictures of an object and repeats included: {one.items.hits} of {one.items.trials})"
    )


def _summary(
    workshop: Workshop,
    runs: Sequence[Run],
    stream: Sequence[Judged],
    *,
    results: dict[str, tuple[Achieved, ...]],
    page: Path,
    decisions: Path,
) -> dict[str, Any]:
    from dataclasses import asdict

    from moderation.cli.lock_words import as_plain
    from moderation.release.record import status_beside

    policies = [
        {
            **as_plain(run.lock, workshop.lock_file(run.policy), order=workshop.settings.actions),
            "status": status_beside(run.lock, workshop.lock_file(run.policy)),
            "tests": None if run.tests is None else run.tests.to_dict()["counts"],
            "achieved": [asdict(one) for one in results[run.policy.id]],
        }
        for run in runs
    ]
    return {
        "schema": "demo/v1",
        "encoder": workshop.fingerprint,
        "policies": policies,
        "items": len(stream),
        "pictures": len({one.picture for one in stream}),
        "cache_hits": sum(one.decision.cache_hit for one in stream),
        "decisions": str(decisions),
        "report": str(page),
    }
