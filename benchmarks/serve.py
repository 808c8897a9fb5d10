"""What serving adds to a device of known cost: alone, among 64 clients, right after a burst, at three times what it can do, and between callers.

The device sleeps 5 + 0.5 n ms for a batch of n, at most 32; at overload 50 + 5 n ms, with deadlines of 1 s and arrivals at random (open loop: latency counts from
when a request should have begun). The driver is another process. Ideal: 5.5 ms alone, 1,524 items a second.

    python benchmarks/serve.py [--seconds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from moderation.encoder.base import Encoded
from moderation.item import Modality
from moderation.server.costs import SIZES, Kind
from tests.fakes import FakeEncoder
from tests.served import serving

LARGEST = 32


class Device(FakeEncoder):
    """Sleeps for what a batch costs."""

    def __init__(self, fixed: float, each: float) -> None:
        super().__init__()
        self.fixed, self.each = fixed, each

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        time.sleep(self.fixed + self.each * len(texts))
        return super().encode_text(texts)


def batcher_alone(device: Device, count: int) -> float:
    """Median milliseconds that the batcher adds to a lone part."""
    with served(device) as place:
        seconds = []
        for number in range(count):
            part = {"default": [_part(f"alone {number}")]}
            began = time.perf_counter()
            place.service.batcher.ask(part, seconds=10).done.result()
            seconds.append(time.perf_counter() - began)
    return 1000 * (statistics.median(seconds) - device.fixed - device.each)


def _part(text: str) -> Any:
    from moderation.item import Part

    return Part.text(text)


def served(device: Device) -> Any:
    kind = Kind("default", Modality.TEXT)
    return serving(encoder=device, costs={kind: {size: device.fixed + device.each * size for size in SIZES}})


def drive(url: str, **how: Any) -> dict[str, Any]:
    """What a driver in a process of its own found."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loops.http_driver", url, json.dumps(how)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(seconds: float) -> dict[str, Any]:
    """Every figure."""
    quick, slow = Device(0.005, 0.0005), Device(0.05, 0.005)
    ideal, most = quick.fixed + quick.each, LARGEST / (quick.fixed + quick.each * LARGEST)
    found: dict[str, Any] = {"added_alone_batcher_ms": batcher_alone(quick, round(seconds * 100))}
    with served(quick) as place:
        for name in ("added_alone_http_ms", "added_alone_http_after_burst_ms"):
            found[name] = 1000 * (drive(place.url, clients=1, seconds=seconds)["p50"] - ideal)
            found["share_of_device_64_clients"] = drive(place.url, clients=64, seconds=seconds)["rate"] / most
    capacity = LARGEST / (slow.fixed + slow.each * LARGEST)
    with served(slow) as place:
        over = drive(place.url, rate=3 * capacity, seconds=2 * seconds, deadline_ms=1000)
        calm = drive(place.url, rate=0.13 * capacity, seconds=seconds, deadline_ms=1000)
    found["overload_in_time_of_capacity"] = over["in_time"] / (2 * seconds) / capacity
    found["overload_refused_p50_ms"], found["overload_accepted_p99_ms"] = 1000 * over["refused_p50"], 1000 * over["p99"]
    found["calm_after_answered"] = calm["in_time"] / calm["asked"]
    return {name: round(value, 3) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    random.seed(1)
    found = measure(options.seconds)
    print(json.dumps(found) if options.json else "\n".join(f"{name:36}{value:10.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
