"""What serving adds to a device of known cost, side by side: ours, LitServe, BentoML, Infinity and Ray Serve, each as its documentation teaches.

The device sleeps 5 + 0.5 n ms for a batch of n, at most 32 (ideal: 5.5 ms alone, 1,524 items a second). At overload it sleeps 50 + 5 n ms; arrivals are at random,
three times what it can do, clients hang up after 1 s, and then 13 % of what it can do follows at once. Every server is a process in an environment of its own
(`make bench` makes them), started anew each time; all take turns, round after round, and medians are told. See docs/serve-peers.md for the settings.

    python benchmarks/serve_peers.py [--rounds 3] [--seconds 3] [--only ours litserve] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.loops.serving.running import Running, Server, running

LARGEST = 32
QUICK, SLOW = {"fixed": 0.005, "each": 0.0005}, {"fixed": 0.05, "each": 0.005}
DEADLINE, PATIENT = 1.0, 60.0
SERVERS = (
    Server(
        "ours", "ours_app", "/v1/moderations"
    ),  # whole decisions by two policies, where peers answer with eight numbers
    Server("our_vectors", "ours_app", "/v1/embeddings"),
    Server("litserve", "litserve_app", environment="litserve"),
    Server("bentoml", "bentoml_app", form=('{"input": ["', '"]}'), environment="bentoml"),
    Server("infinity", "infinity_app", environment="infinity"),
    Server("ray_serve", "ray_app", environment="ray", variables={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}),
)
# How each is best set where more is asked than it can do and nobody waits for more than a second.
OVERLOADED: dict[str, dict[str, Any]] = {
    "litserve": {"timeout": 0.7},
    "bentoml": {"max_latency_ms": 1000, "traffic": {"timeout": 60, "max_concurrency": 128}},
    "infinity": {},
    "ray_serve": {"max_ongoing_requests": 64, "max_queued_requests": 64},
}
OVERLOADED_VARIABLES = {"infinity": {"INFINITY_QUEUE_SIZE": "96"}}
AIMS = {
    "added_alone_ms": "<= 1.2",
    "added_after_burst_ms": "as alone",
    "share_of_device": ">= 0.93",
    "in_time_of_capacity": ">= 0.95",
    "refused_ms": "<= 5",
    "calm_answered": "1.00",
}
PACKAGES = {"litserve": "litserve", "bentoml": "bentoml", "infinity": "infinity-emb", "ray_serve": "ray"}


def rate(device: Mapping[str, float]) -> float:
    """Items a second of full batches."""
    return LARGEST / (device["fixed"] + device["each"] * LARGEST)


def quick(place: Running, seconds: float) -> dict[str, float]:
    """Alone, among 64 clients, and alone right after it."""
    ideal = QUICK["fixed"] + QUICK["each"]
    alone = place.drive(clients=1, seconds=seconds, deadline=PATIENT)
    many = place.drive(clients=64, seconds=seconds, deadline=PATIENT)
    after = place.drive(clients=1, seconds=seconds, deadline=PATIENT)
    return {
        "added_alone_ms": 1000 * (alone["p50"] - ideal),
        "added_after_burst_ms": 1000 * (after["p50"] - ideal),
        "share_of_device": many["rate"] / rate(QUICK),
        "not_answered": sum(one["asked"] - one["in_time"] for one in (alone, many, after)),
    }


def slow(place: Running, seconds: float) -> dict[str, float | None]:
    """Three times what it can do, and a calm time right after."""
    of = {"deadline": DEADLINE, "patience": 0.0}
    over = place.drive(rate=3 * rate(SLOW), seconds=2 * seconds, **of)
    calm = place.drive(rate=0.13 * rate(SLOW), seconds=seconds, **of)
    return {
        "in_time_of_capacity": over["in_time"] / (2 * seconds) / rate(SLOW),
        "refused_share": over["refused"] / over["asked"],
        "refused_ms": 1000 * over["refused_p50"] if over["refused"] else None,
        "calm_answered": calm["in_time"] / calm["asked"],
    }


def one_round(servers: list[Server], seconds: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Every server, on both devices."""
    found: dict[str, dict[str, Any]] = {}
    for server in servers:
        with running(server, folder, [server.form], largest=LARGEST, **QUICK) as place:
            found[server.name] = dict(quick(place, seconds))
    for server in servers:
        name = server.name
        strained = replace(
            server,
            settings={**server.settings, **OVERLOADED.get(name, {})},
            variables={**server.variables, **OVERLOADED_VARIABLES.get(name, {})},
        )
        with running(strained, folder, [server.form], largest=LARGEST, **SLOW) as place:
            found[name] |= slow(place, seconds)
    return found


def medians(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float | None]]:
    """Of each figure over the rounds, None where it never was."""
    made: dict[str, dict[str, float | None]] = {}
    for name, figures in rounds[0].items():
        made[name] = {}
        for figure in figures:
            values = [one[name][figure] for one in rounds if one[name][figure] is not None]
            made[name][figure] = round(statistics.median(values), 3) if values else None
    return made


def versions(servers: list[Server]) -> dict[str, str]:
    """Of the peers, as their interpreters say."""
    say = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    found = {"python": platform.python_version()}
    for server in servers:
        if package := PACKAGES.get(server.name):
            done = subprocess.run([server.python, "-c", say, package], capture_output=True, text=True, check=True)
            found[package] = done.stdout.strip()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", nargs="+", choices=[one.name for one in SERVERS])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    chosen = [one for one in SERVERS if options.only is None or one.name in options.only]
    there = [one for one in chosen if one.python.exists()]
    with tempfile.TemporaryDirectory() as folder:
        load = round(os.getloadavg()[0], 1)
        rounds = [one_round(there, options.seconds, Path(folder)) for _ in range(options.rounds)]
    found = {
        "rounds": options.rounds, "seconds": options.seconds, "load_before": load, "load_after": round(os.getloadavg()[0], 1), "versions": versions(there),
        "absent": [one.name for one in chosen if one not in there], "servers": medians(rounds), "each_round": rounds,
    }  # fmt: skip
    print(json.dumps(found) if options.json else table(found))


def table(found: Mapping[str, Any]) -> str:
    """For people."""
    names = list(found["servers"])
    lines = [f"{'':24}{'aim':>10}" + "".join(f"{name:>12}" for name in names)]
    for figure in found["servers"][names[0]]:
        cells = [found["servers"][name][figure] for name in names]
        shown = "".join(f"{'none' if cell is None else format(cell, '.2f'):>12}" for cell in cells)
        lines.append(f"{figure:24}{AIMS.get(figure, ''):>10}{shown}")
    told = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    absent = f"; not installed: {', '.join(found['absent'])}" if found["absent"] else ""
    return "\n".join(
        [
            *lines,
            f"{found['rounds']} rounds of {found['seconds']:g} s, load {found['load_before']} to {found['load_after']}; {told}{absent}",
        ]
    )


if __name__ == "__main__":
    main()
