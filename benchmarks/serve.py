"""What serving adds to a device of known cost: alone, among 64 clients, right after a burst, at three times what it can do, between callers, when callers
go away, and in memory.

The device sleeps 5 + 0.5 n ms for a batch of n, at most 32; at overload 50 + 5 n ms, with deadlines of 1 s and arrivals at random (open loop: latency counts from
when a request should have begun). The driver is another process. Ideal: 5.5 ms alone, 1,524 items a second.

    python benchmarks/serve.py [--seconds 5] [--requests 100000] [--only latency overload fairness cancels memory] [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from moderation.cli.process import settled_heap
from moderation.encoder.base import Encoded
from moderation.item import Modality, Part
from moderation.server.costs import SIZES, Kind
from tests.fakes import FakeEncoder, action, lock
from tests.served import BOTH, Place, serving

LARGEST = 32
_VECTOR = FakeEncoder().encode_text(["a text"]).vectors
KEYS = {"small": "mod-small", "large": "mod-large"}


class Device(FakeEncoder):
    """Sleeps for what a batch costs, and remembers when it began which texts."""

    def __init__(self, fixed: float, each: float, *, remembers: int = 0) -> None:
        super().__init__()
        self.fixed, self.each = fixed, each
        self.encoded = deque(maxlen=0)  # type: ignore[assignment]  # what grows here is not the server's
        self.begun: deque[tuple[float, tuple[str, ...]]] = deque(maxlen=remembers)

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        self.begun.append((time.monotonic(), tuple(texts)))
        time.sleep(self.seconds(len(texts)))
        return Encoded(np.tile(_VECTOR, (len(texts), 1)), {})  # what a device makes costs the server nothing

    def seconds(self, parts: int) -> float:
        """What a batch costs."""
        return self.fixed + self.each * parts

    @property
    def capacity(self) -> float:
        """Parts a second in full batches."""
        return LARGEST / self.seconds(LARGEST)


def median_ms(once: Callable[[str], object], count: int) -> float:
    """Median milliseconds of a call with a text of its own."""
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        once(f"alone {number}")
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def batcher_alone(device: Device, count: int) -> float:
    """Median milliseconds of a lone part that the batcher is asked for."""
    with served(device) as place:
        batcher = place.service.batcher
        return median_ms(lambda text: batcher.ask({"default": [Part.text(text)]}, seconds=10).done.result(), count)


@contextmanager
def served(device: Device, **more: Any) -> Iterator[Place]:
    """A server that answers until this is closed; with the garbage collector as `moderation serve` has it, or it stands still for 50 ms every second."""
    row = {size: device.seconds(size) for size in SIZES}
    costs = {Kind("default", Modality.TEXT): row, Kind("default", Modality.IMAGE): dict.fromkeys(SIZES, 0.001)}
    # Its texts all score 0.5, which is one of the fakes' thresholds: what is near to one is encoded twice, and is not what is measured here.
    locks = [lock(name, modalities=BOTH, actions=(action("remove", 0.9),)) for name in ("weapons", "drugs")]
    with serving(*locks, encoder=device, costs=costs, **more) as place, settled_heap():
        yield place


def drive(url: str, *loads: dict[str, Any]) -> list[dict[str, Any]]:
    """What a driver in a process of its own found of each load, all at once."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loops.http_driver", url, json.dumps(loads)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def latency(seconds: float) -> dict[str, float]:
    """What is added to a lone request, and what many clients get of the device: vectors, as peers are asked for, and whole decisions by two policies.

    Added is what is beyond the device called by itself, whose sleep takes a little longer than it should.
    """
    device, count = Device(0.005, 0.0005), round(seconds * 100)
    own = median_ms(lambda text: device.encode_text([text]), count)
    found = {"device_alone_ms": own, "added_alone_batcher_ms": batcher_alone(device, count) - own}
    with served(device) as place:
        for kind, name in (("vectors", "vectors"), ("texts", "decisions")):
            for when in ("", "_after_burst"):
                (alone,) = drive(place.url, {"kind": kind, "clients": 1, "seconds": seconds})
                found[f"added_alone_http_{name}{when}_ms"] = 1000 * alone["latency"]["p50"] - own
                (many,) = drive(place.url, {"kind": kind, "clients": 64, "seconds": seconds, "deadline": 60})
                found[f"share_of_device_64_clients_{name}"] = many["rate"] / device.capacity
    return found


def overload(seconds: float) -> dict[str, float]:
    """Three times what the device can do, and a calm time right after."""
    device = Device(0.05, 0.005)
    with served(device) as place:
        (over,) = drive(place.url, {"rate": 3 * device.capacity, "seconds": 2 * seconds, "deadline": 1})
        (calm,) = drive(place.url, {"rate": 0.13 * device.capacity, "seconds": seconds, "deadline": 1})
    refused = over["refusal"]  # None where a busy machine could not ask for as much
    return {
        "overload_in_time_of_capacity": over["rate"] / device.capacity,
        **({"overload_refused_p50_ms": 1000 * refused["p50"]} if refused else {}),
        "overload_accepted_p99_ms": 1000 * over["latency"]["p99"],
        "calm_after_answered": calm["share_in_time"],
    }


def fairness(seconds: float) -> dict[str, float]:
    """A key at a tenth of its share of the device, alone and beside one at ten times its own."""
    device = Device(0.05, 0.005)
    share = device.capacity / len(KEYS)
    keys = {name: {"sha256": hashlib.sha256(key.encode()).hexdigest()} for name, key in KEYS.items()}
    small = {"rate": 0.1 * share, "key": KEYS["small"], "seconds": 6 * seconds, "deadline": 2}
    with served(device, keys=keys) as place:
        (alone,) = drive(place.url, small)
        beside, large = drive(place.url, small, {**small, "rate": 10 * share, "key": KEYS["large"]})
    return {
        "small_key_p99_alone_ms": 1000 * alone["latency"]["p99"],
        "small_key_p99_beside_ms": 1000 * beside["latency"]["p99"],
        "small_key_p99_ratio": beside["latency"]["p99"] / alone["latency"]["p99"],
        "small_key_in_time": beside["share_in_time"],
        "two_full_batches_ms": 2000 * device.seconds(LARGEST),
        "large_key_in_time_of_capacity": large["rate"] / device.capacity,
    }


def cancels(seconds: float) -> dict[str, float]:
    """64 clients, of whom three in ten go away before they are answered; a request alone before and after."""
    device = Device(0.05, 0.005, remembers=100_000)
    alone, many = {"seconds": seconds, "deadline": 5}, {"clients": 64, "seconds": 2 * seconds, "deadline": 20}
    with served(device) as place:
        (before,) = drive(place.url, alone)
        (left,) = drive(place.url, {**many, "leaves": 0.3, "leaves_within": device.seconds(LARGEST)})
        waiting = place.service.batcher.waiting[0]
        (after,) = drive(place.url, alone)
    gone = left["gone"]
    parts = [[gone.get(text, began + 1) < began for text in texts] for began, texts in device.begun]
    return {
        "cancelled": left["left"] / left["asked"],
        "cancels_hung": sum(left["failed"].values()) + waiting,
        "cancels_parts_begun_for_nobody": sum(map(sum, parts)),
        "cancels_batches_begun_for_nobody": sum(map(all, parts)),
        "cancels_p50_after_of_before": after["latency"]["p50"] / before["latency"]["p50"],
    }


def memory(requests: int) -> dict[str, float]:
    """This process, which serves, after so many requests of all kinds, one caller in twenty going away; half as many come first, to warm it up.

    So long it takes until Python's lists of free tuples, which nothing empties, are full: 2,000 of each length below 21, 5 MB at most.
    """
    how = {"kind": "varied", "clients": 16, "seconds": 3600, "deadline": 60, "leaves": 0.05, "leaves_within": 0.01}
    sizes = []
    with served(Device(0.0, 0.0), cache_bytes=10**6) as place:
        for _ in range(3):
            (found,) = drive(place.url, {**how, "count": requests // 2})
            assert not found["failed"], found["failed"]
            sizes.append(resident())
    return {
        "memory_requests": requests,
        "memory_warm_mb": sizes[0] / 1e6,
        "memory_growth": sizes[-1] / sizes[0] - 1,
        "memory_growth_of_last_half": sizes[-1] / sizes[-2] - 1,
    }


def resident() -> int:
    """Bytes of this process in memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--requests", type=int, default=100_000)
    parts = {"latency": latency, "overload": overload, "fairness": fairness, "cancels": cancels}
    parser.add_argument("--only", nargs="+", choices=[*parts, "memory"], default=[*parts, "memory"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    random.seed(1)
    found: dict[str, float] = {}
    for name in options.only:
        found |= memory(options.requests) if name == "memory" else parts[name](options.seconds)
    found = {name: round(value, 3) for name, value in found.items()}
    print(json.dumps(found) if options.json else "\n".join(f"{name:36}{value:10.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
