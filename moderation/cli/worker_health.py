"""What `moderation doctor` looks at for a process on a stream: whether its brokers take us, its topics are there, which builds act, whether the sink can be used."""

from __future__ import annotations

from pathlib import Path

from moderation.cli import terminal
from moderation.cli.finding import Check, Finding, load
from moderation.decision import LIVE
from moderation.errors import ExitCode

UNUSED = "not used: the settings have no section [{}]"


def _stream(file: Path | None) -> Finding:
    settings = load(file)
    if settings.stream is None:
        return Finding("stream", True, UNUSED.format("stream"))
    from moderation import assemble
    from moderation.stream.client import make_reader
    from moderation.stream.credentials import opening

    with opening("open", settings.stream):
        reader = make_reader(settings.stream)
        known = reader.topics()
        reader.close()
    written = assemble.output_topics(settings) if settings.worker or settings.deliver else ()
    missing = [one for one in (*settings.stream.inputs, *written) if one not in known]
    if not missing:
        return Finding(
            "stream", True, f"brokers answer and take us; {', '.join((*settings.stream.inputs, *written))} are there"
        )
    code = ExitCode.UNAVAILABLE if set(missing) & set(settings.stream.inputs) else ExitCode.UNWRITABLE
    what = "topic" if len(missing) == 1 else f"{len(missing)} topics"
    said = f"brokers answer and take us, but have no {what} {', '.join(missing)}, or show us none"
    return Finding("stream", False, said, exit_code=int(code))


def _locks(file: Path | None) -> Finding:
    settings = load(file)
    if settings.worker is None:
        return Finding("locks", True, UNUSED.format("worker"))
    from moderation import assemble

    folder = file.parent if file else Path()
    running = assemble.pipeline(settings, [folder / one for one in settings.worker.locks]).running
    details = {one.id: f"revision {one.lock.revision}, status {one.terms.status}" for one in running.policies}
    live = [one.id for one in running.policies if one.terms.status == LIVE]
    said = (
        f"live: {', '.join(live)}"
        if live
        else "none is live, so nothing is acted on: `moderation policy release` makes one live"
    )
    return Finding("locks", True, f"{terminal.counted(len(details), 'build')} can be used; {said}", details)


def _deliver(file: Path | None) -> Finding:
    settings = load(file)
    if settings.deliver is None:
        return Finding("deliver", True, UNUSED.format("deliver"))
    from contextlib import closing

    from moderation import assemble, assemble_deliver

    with closing(assemble.plugins(settings)) as known:
        assemble_deliver.sink(settings, known=known)
    chosen = settings.deliver
    which = "whose action is " + ", ".join(chosen.actions) if chosen.actions else "all of them"
    return Finding("deliver", True, f"the sink {chosen.sink!r} is set up; it gets decisions: {which}")


CHECKS: dict[str, Check] = {"stream": _stream, "locks": _locks, "deliver": _deliver}
