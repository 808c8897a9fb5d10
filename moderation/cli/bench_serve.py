"""`moderation bench serve`: how much a server of this machine can do, and what becomes of those who ask at fractions of that."""

from __future__ import annotations

import base64
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.cli import terminal
from moderation.cli.bench_content import content
from moderation.cli.bounds import conclude
from moderation.cli.places import Json, in_a_folder
from moderation.extras import SERVER, need

if TYPE_CHECKING:
    from moderation.server.bench import Result, Step
    from moderation.server.load import Asked

COLUMNS = (
    "of capacity", "offered/s", "in time/s", "p50", "p95", "p99", "refused", "in (p50)", "left", "failed", "memory",
)  # fmt: skip


def serve(
    config: Annotated[
        Path, typer.Argument(metavar="SERVE.toml", help="A server's settings; its port is left alone.", dir_okay=False)
    ],
    *,
    at: Annotated[
        list[float] | None, typer.Option(min=0.01, help="A load, as a part of the capacity; give it several times.", show_default="0.25, 0.5, 0.8, 1, 1.5 and 3")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each load.")] = 10.0,
    clients: Annotated[int, typer.Option(min=1, help="That ask one request after the other while the capacity is found.")] = 64,
    deadline: Annotated[
        float | None, typer.Option(min=0.001, max=600, help="Seconds that an answer may take; without it, the settings' own.")
    ] = None,
    bad: Annotated[float, typer.Option(min=0, max=1, help="Share of items that cannot be judged.")] = 0.01,
    cancels: Annotated[float, typer.Option(min=0, max=1, help="Share of callers that go away before they are answered.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of the made content and the arrivals.")] = 0,
    patience: Annotated[float, typer.Option(min=1, help="Seconds that the server may take until it is ready.")] = 120.0,
    min_rate: Annotated[float | None, typer.Option(help="Fail below a capacity of so many items a second.")] = None,
    max_p99: Annotated[
        float | None, typer.Option(help="Fail where, up to 0.8 of the capacity, one answer in a hundred takes longer, in seconds.")
    ] = None,
    min_goodput: Annotated[
        float | None, typer.Option(help="Fail where, from the capacity on, less than this part of it is answered in time.")
    ] = None,
    max_refusal: Annotated[float | None, typer.Option(help="Fail where half of the refusals take longer, in seconds.")] = None,
    max_growth: Annotated[float | None, typer.Option(help="Fail where memory grows by more than this part after the warm-up.")] = None,
    html: Annotated[Path | None, typer.Option(help="A page with plots.", dir_okay=False, callback=in_a_folder)] = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Ask a real server of this configuration for decisions: as much as it can do, then at fractions of that.

    Requests come at random (open loop), each an item of its own, and count from when they should have begun. The server is a process of this
    run alone, with a port, a key, a tenant and a small cache of its own. Answers that failed break it, and so do the bounds (exit code 8).

    Example: moderation bench serve serve.toml --at 0.5 --at 3 --max-p99 0.5 --min-goodput 0.95 --html load.html
    """
    need(*SERVER, extra="serve")
    from moderation.assemble_serve import serve_settings
    from moderation.policy.lock import read_lock
    from moderation.server.bench import FRACTIONS, Plan, measure
    from moderation.settings import load_settings

    own = serve_settings(load_settings(config))
    modalities = sorted({one.value for name in own.locks for one in read_lock(config.parent / name).modalities})
    plan = Plan(at or FRACTIONS, seconds, clients, deadline or own.deadline_seconds, cancels, seed)
    requests = _requests(modalities, bad, random.Random(seed))
    with tempfile.TemporaryDirectory() as folder, terminal.progress("loads", 1 + len(plan.fractions)) as advance:
        found = measure(
            config, requests, plan, log=Path(folder) / "server.log", patience=patience, advance=advance
        )  # fmt: skip
    broken = [*_broken(found, min_rate=min_rate, max_p99=max_p99, min_goodput=min_goodput, max_refusal=max_refusal, max_growth=max_growth)]  # fmt: skip
    if html:
        from moderation.server.bench_page import render_html

        html.write_text(render_html(found, plan, broken), encoding="utf-8")
    conclude(found.to_dict(), broken, tell=lambda: _tell(found), as_json=as_json)


def _requests(modalities: Sequence[str], bad: float, chance: random.Random) -> Iterator[Asked]:
    """Items of each modality in turn, for ever; so many are pictures cut short and bodies that are wrong."""
    from moderation.server.load import Asked

    number = 0
    while True:
        kind, spoiled = modalities[number % len(modalities)], chance.random() < bad
        yield Asked("/v1/moderations", _body(kind, content(kind, chance), spoiled=spoiled), spoiled)
        number += 1


def _body(kind: str, made: bytes, *, spoiled: bool) -> bytes:
    if kind == "text":
        return json.dumps({"input": made.decode()}).encode()[: -1 if spoiled else None]
    url = f"data:image/png;base64,{base64.b64encode(made[: len(made) // 2] if spoiled else made).decode()}"
    return json.dumps({"input": [{"type": "image_url", "image_url": {"url": url}}]}).encode()


def _broken(
    found: Result,
    *,
    min_rate: float | None,
    max_p99: float | None,
    min_goodput: float | None,
    max_refusal: float | None,
    max_growth: float | None,
) -> Iterator[str]:
    """Which bounds are broken, in words."""
    from moderation.server.bench import CALM

    if found.failed:
        yield f"{found.failed} requests were neither answered nor refused"
    if min_rate is not None and found.capacity < min_rate:
        yield f"the capacity is {found.capacity:.1f} items/s; expected at least {min_rate:g}"
    for one in found.steps:
        at, late, refused = f"at {one.fraction:g} of the capacity", one.found.latency, one.found.refusal
        if max_p99 is not None and one.fraction <= CALM and (late is None or late.p99 > max_p99):
            yield f"{at} p99 is {_seconds(late.p99 if late else None)}; expected at most {max_p99:g} s"
        if min_goodput is not None and one.fraction >= 1 and one.found.rate < min_goodput * found.capacity:
            share = one.found.rate / found.capacity
            yield f"{at} {share:.2f} of it is answered in time; expected at least {min_goodput:g}"
        if max_refusal is not None and refused and refused.p50 > max_refusal:
            yield f"{at} refusals take {_seconds(refused.p50)}; expected at most {max_refusal:g} s"
    if max_growth is not None and (found.growth is None or found.growth > max_growth):
        grown = "not known" if found.growth is None else f"{found.growth:.1%}"
        yield f"memory grew after the warm-up: {grown}; expected at most {max_growth:.1%}"


def _tell(found: Result) -> None:
    terminal.say(f"capacity: {found.capacity:.1f} items/s, {found.clients} clients; the server was ready after {found.start_seconds:.1f} s")  # fmt: skip
    terminal.table(COLUMNS, [_row(one) for one in found.steps])
    saturation = "none of these loads" if found.saturation is None else f"up to {found.saturation:.1f} requests/s"
    terminal.say(f"99 in 100 are answered in time at {saturation}")
    if found.peak_bytes and found.growth is not None:
        terminal.say(f"memory: {found.peak_bytes / 1e6:.0f} MB at most, {found.growth:+.1%} after the warm-up")
    late = [one.found.late.p99 for one in found.steps if one.found.late]
    terminal.say(f"requests left {_seconds(max(late, default=None))} late (largest p99): the driver's own part of these times")  # fmt: skip


def _row(step: Step) -> list[str]:
    found, late = step.found, step.found.latency
    waited = [_seconds(one) for one in ((late.p50, late.p95, late.p99) if late else (None,) * 3)]
    counts = [f"{step.offered:.1f}", f"{found.rate:.1f}", *waited, f"{found.refused / max(1, found.asked):.1%}"]
    refusal = _seconds(found.refusal.p50 if found.refusal else None)
    memory = f"{step.memory / 1e6:.0f} MB" if step.memory else "unknown"
    return [f"{step.fraction:g}", *counts, refusal, str(found.left), str(sum(found.failed.values())), memory]


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{1000 * value:.1f} ms" if value < 1 else f"{value:.2f} s"
