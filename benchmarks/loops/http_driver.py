"""Loads on a server from a process of its own: what became of each, and which texts nobody waited for any more.

python -m benchmarks.loops.http_driver URL '[{"clients": 64, "seconds": 5}]'
"""

from __future__ import annotations

import base64
import json
import random
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from moderation.server.load import LEFT, Asked, Load, drive, outcome


def texts(chance: random.Random, route: str = "/v1/moderations") -> Iterator[Asked]:
    """A text each, and no text twice, or it would be remembered."""
    start = chance.getrandbits(64)
    number = 0
    while True:
        yield Asked(route, json.dumps({"input": f"{start} {number}"}).encode())
        number += 1


def varied(chance: random.Random) -> Iterator[Asked]:
    """Every route with all that may come: short and long texts, lists, parts, pictures that are none, vectors, wrong bodies, unknown keys, metrics."""

    def text() -> str:
        return str(chance.getrandbits(64)) * chance.choice((1, 1, 1, 3, 30, 1000))

    def picture() -> str:
        content = f"{chance.uniform(-1, 1)}" if chance.random() < 0.9 else "no picture"
        return "data:image/png;base64," + base64.b64encode(content.encode()).decode()

    def part() -> dict[str, Any]:
        if chance.random() < 0.5:
            return {"type": "text", "text": text()}
        return {"type": "image_url", "image_url": {"url": picture()}}

    def attributes() -> dict[str, str]:
        return {f"name{chance.randrange(5)}": str(chance.getrandbits(32)) for _ in range(chance.randrange(4))}

    def several(make: Any, most: int) -> list[Any]:
        return [make() for _ in range(chance.randint(1, most))]

    kinds: list[Any] = [
        lambda: ("/v1/moderations", {"input": text()}, False),
        lambda: ("/v1/moderations", {"input": several(text, 20)}, False),
        lambda: ("/v1/moderations", {"input": several(part, 8)}, False),
        lambda: ("/v1/embeddings", {"input": several(text, 20), "encoding_format": "base64"}, False),
        lambda: ("/v1/embeddings", {"input": picture(), "modality": "image"}, True),
        lambda: ("/v1/decisions", {"items": several(lambda: {"text": text(), "attributes": attributes()}, 20)}, False),
        lambda: ("/v1/classify", {"texts": several(text, 5), "images": several(picture, 3)}, True),
        lambda: ("/v1/moderations", {"input": text(), f"more{chance.getrandbits(32)}": 1}, True),
        lambda: ("/v1/moderations", {"input": text(), "model": f"model-{chance.getrandbits(32)}"}, True),
        lambda: (f"/v1/{chance.getrandbits(32)}", {"input": text()}, True),
        lambda: ("/metrics", None, False),
        lambda: ("/v1/policies", None, False),
    ]
    while True:
        route, body, bad = chance.choice(kinds)()
        sent = None if body is None else json.dumps(body).encode()
        if sent and chance.random() < 0.02:
            sent, bad = sent[:-1], True
        yield Asked(route, sent, bad)


def main() -> None:
    url, hows = sys.argv[1], json.loads(sys.argv[2])
    chance = random.Random(time.time_ns())
    kinds = [how.pop("kind", "texts") for how in hows]
    counts = [how.pop("count", None) for how in hows]
    loads = [Load(**how) for how in hows]
    requests = [islice(MADE[kind](chance), count) for kind, count in zip(kinds, counts, strict=True)]
    found = []
    for kind, load, answers in zip(kinds, loads, drive(url, *zip(requests, loads, strict=True)), strict=True):
        gone = [one for one in answers if one.status == LEFT] if kind == "texts" else []
        when = {json.loads(one.asked.body or b"")["input"]: one.ended for one in gone}
        found.append({**outcome(answers, load).to_dict(), "gone": when})
    print(json.dumps(found))


MADE = {"texts": texts, "vectors": partial(texts, route="/v1/embeddings"), "varied": varied}

if __name__ == "__main__":
    main()
