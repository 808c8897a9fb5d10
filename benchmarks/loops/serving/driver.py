"""Loads on any server from a process of its own: `python -m benchmarks.loops.serving.driver URL '{"forms": FILE, "clients": 64, "seconds": 5}'`.

FILE is JSON of [before, after]: requests by turns, with 16 letters between that no other has, or they would be remembered.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moderation.server.load import NOTHING, Asked, Load, drive

REFUSED = {429, 503, 504}  # not all say 429


def requests(route: str, forms: Sequence[Sequence[str]]) -> Iterator[Asked]:
    """Each form in turn, no two requests equal."""
    chance = random.Random(time.time_ns())
    for before, after in itertools.cycle(forms):
        yield Asked(route, f"{before}{chance.getrandbits(64):016x}{after}".encode())


def main() -> None:
    url, how = urlsplit(sys.argv[1]), json.loads(sys.argv[2])
    forms = json.loads(Path(how.pop("forms")).read_text(encoding="utf-8"))
    load = Load(**how)
    began = time.monotonic()
    (answers,) = drive(f"{url.scheme}://{url.netloc}", (requests(url.path, forms), load))
    took = time.monotonic() - began
    good = sorted(one.seconds for one in answers if one.status == 200)
    refused = [one.seconds for one in answers if one.status in REFUSED]
    found: dict[str, Any] = {
        "asked": len(answers),
        "in_time": sum(one <= load.deadline for one in good),
        "refused": len(refused),
        "late": sum(one.status == NOTHING for one in answers),
        "rate": len(good) / took,
        "p50": statistics.median(good) if good else None,
        "refused_p50": statistics.median(refused) if refused else None,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
