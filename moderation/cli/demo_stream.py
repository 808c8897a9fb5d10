"""The demo's items once more, through a real worker on a real broker: the same locks, each record answered once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from moderation import assemble
from moderation.cli import terminal
from moderation.release.report import Judged
from moderation.settings import load_settings
from moderation.stream.bench import Load, Result, measure


def run_worker(stream: Sequence[Judged], locks: Sequence[Path], *, kafka: str, out: Path) -> Result:
    """Sends every item to a worker under these locks and counts its answers; settings and log stay in `out`.

    Raises StreamError where the broker or the worker cannot be used.
    """
    config = out / "worker.toml"
    with terminal.replacing(config) as file:
        file.write(_settings(kafka, [str(one.resolve()) for one in locks]))
    settings = load_settings(config)
    contents = ((one.picture, (("id", one.known.item_id.encode()),)) for one in stream)
    with terminal.progress("through a worker", len(stream)) as advance:
        return measure(
            config,
            assemble.stream_settings(settings),
            assemble.worker_settings(settings),
            contents,
            len(stream),
            load=Load(),
            log=out / "worker.log",
            advance=advance,
        )


def in_words(found: Result, kafka: str) -> str:
    """What came of it, for people."""
    once = (
        "each record answered once"
        if not (found.lost or found.repeated)
        else f"{found.lost} LOST, {found.repeated} REPEATED"
    )
    return (
        f"{found.records} records through a worker on {kafka}, exactly once: {found.decisions} decisions, {found.dead_letters} dead letters, "
        f"{once}, {found.rate:.0f} items/s"
    )


def _settings(kafka: str, locks: Sequence[str]) -> str:
    """A worker's settings as TOML, whose strings and lists are written as JSON's."""
    return f"""\
# What `moderation demo --kafka` ran its worker with; the load test gave it topics of its own.
[stream]
inputs = ["items"]
group = "moderation-demo"
slot = "worker-0"

[stream.kafka]
bootstrap = {json.dumps(kafka.split(","))}

[worker]
locks = {json.dumps(locks)}
decisions = "decisions"
"""
