"""`moderation bench`: how fast this machine does it, and whether nothing is lost on the way."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import bench_encode, bench_serve, terminal
from moderation.cli.bench_content import contents
from moderation.cli.bounds import conclude
from moderation.cli.places import Json

if TYPE_CHECKING:
    from moderation.stream.bench import Result

app = typer.Typer(no_args_is_help=True, help="Load tests of this machine, with bounds that make them fail.")
app.command("encode")(bench_encode.encode)
app.command("serve")(bench_serve.serve)


@app.command("stream")
def stream_(
    config: Annotated[
        Path,
        typer.Argument(metavar="CONFIG.toml", help="A worker's settings; its topics are left alone.", dir_okay=False),
    ],
    *,
    items: Annotated[int, typer.Option(min=1, help="How many items are sent.")] = 1000,
    repeat: Annotated[
        float, typer.Option(min=0, max=1, help="Share of them that came before: the cache knows them.")
    ] = 0.0,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Items a second; all at once without it.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    kills: Annotated[int, typer.Option(min=0, help="Workers killed with SIGKILL on the way.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the made content and the kills.")] = 0,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds without an answer, a start's included, after which the rest is lost.")
    ] = 60.0,
    min_rate: Annotated[float | None, typer.Option(help="Fail below so many items a second.")] = None,
    max_p99: Annotated[
        float | None, typer.Option(help="Fail where one item in a hundred takes longer, in seconds.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send made items through real workers on the real broker, and count every answer.

    Topics, group, cache and quotas are of this run alone, and the topics are deleted in the end. Lost records, and repeated answers
    where exactly_once is promised, fail it; so do the bounds (exit code 8). Latency with all items at once is how long they queue: give
    a rate below what the machine can do to see how late an answer is.

    Example: moderation bench stream worker.toml --items 2000 --rate 50 --max-p99 1.5
    """
    from moderation import assemble
    from moderation.policy.lock import read_lock
    from moderation.settings import load_settings
    from moderation.stream.bench import Load, measure

    settings = load_settings(config)
    stream, own = assemble.stream_settings(settings), assemble.worker_settings(settings)
    modalities = {one.value for name in own.locks for one in read_lock(config.parent / name).modalities}
    made = contents(sorted(modalities), items, repeat=repeat, chance=random.Random(seed))
    with tempfile.TemporaryDirectory() as folder, terminal.progress("answered", items) as advance:
        found = measure(
            config,
            stream,
            own,
            made,
            items,
            load=Load(workers=workers, rate=rate, kills=kills, seed=seed),
            log=Path(folder) / "workers.log",
            patience=patience,
            advance=advance,
        )
    broken = _broken(found, exactly=stream.delivery == "exactly_once", min_rate=min_rate, max_p99=max_p99)
    conclude(found.to_dict(), broken, tell=lambda: _tell(found), as_json=as_json)


def _broken(found: Result, *, exactly: bool, min_rate: float | None, max_p99: float | None) -> list[str]:
    """Which bounds are broken, in words."""
    told = []
    if found.lost:
        told.append(f"{found.lost} of {found.records} records got no answer")
    if exactly and found.repeated:
        told.append(f"{found.repeated} answers came twice")
    if min_rate is not None and found.rate < min_rate:
        told.append(f"{found.rate:.1f} items/s; expected at least {min_rate:g}")
    if max_p99 is not None and (found.latency is None or found.latency.p99 > max_p99):
        late = "unknown" if found.latency is None else f"{found.latency.p99:.3f} s"
        told.append(f"p99 is {late}; expected at most {max_p99:g} s")
    return told


def _tell(found: Result) -> None:
    terminal.say(
        f"{terminal.counted(found.records, 'record')}: {terminal.counted(found.decisions, 'decision')}, {terminal.counted(found.dead_letters, 'dead letter')}, {found.lost:,} lost, {found.repeated:,} repeated"
    )
    terminal.say(f"{found.rate:.1f} items/s; the workers were ready after {found.start_seconds:.1f} s")
    if found.latency:
        told = found.latency
        terminal.say(
            f"latency: p50 {told.p50:.3f} s, p95 {told.p95:.3f} s, p99 {told.p99:.3f} s, largest {told.largest:.3f} s"
        )
    if found.kills or found.deaths:
        terminal.say(
            f"{found.kills} {'worker was' if found.kills == 1 else 'workers were'} killed, {len(found.deaths)} ended by themselves"
        )
    if found.peak_bytes:
        terminal.say(f"largest memory of a worker: {found.peak_bytes / 1e6:.0f} MB")
