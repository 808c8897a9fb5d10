"""One answer, whatever the company: items, ten thousand in the long form, alone, in a scan, on a stream and over HTTP, in batches of all sizes, hits and misses."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from moderation.item import ContentItem, Part
from moderation.pipeline import Pipeline
from moderation.scan import decide_entries
from moderation.source.entry import Entry
from moderation.stream.batch import Partition, Record
from tests.fakes import FakeEncoder, Swayed, lock
from tests.integration.test_serve import ask
from tests.served import BOTH, Place, serving
from tests.unit.stream.test_decider import decider, told

Told = dict[str, Any]  # what is told of an item by its id


def contents(count: int) -> list[Part]:
    """Pictures and texts, half of them near to the fakes' thresholds, and some of them twice."""
    chance = random.Random(8)
    values = [
        chance.uniform(*chance.choice([(-1.0, 1.0), (0.700, 0.714), (0.915, 0.929), (-1.0, 1.0)])) for _ in range(count)
    ]
    values[: count // 20] = values[-(count // 20) :]
    return [Part.text(f"{one:.6f}") if at % 2 else Part.image(f"{one:.6f}".encode()) for at, one in enumerate(values)]


def cut(rows: Sequence[int], chance: random.Random, largest: int) -> Iterable[list[int]]:
    """All rows in batches of sizes at random, in an order at random."""
    left = chance.sample(rows, len(rows))
    while left:
        size = chance.randint(1, largest)
        yield left[:size]
        left = left[size:]


def by_pipeline(made: Pipeline, items: Sequence[ContentItem], batches: Iterable[Sequence[int]]) -> Told:
    return {one.item_id: one.to_dict() for batch in batches for one in made.decide([items[place] for place in batch])}


def by_scan(made: Pipeline, items: Sequence[ContentItem], batches: Iterable[Sequence[int]]) -> Told:
    entries = [Entry(one.id, partial(lambda same: same, one)) for one in items]
    return {
        one.item_id: one.to_dict()
        for batch in batches
        for _, one in decide_entries(made, [entries[place] for place in batch])
    }


def by_stream(made: Pipeline, items: Sequence[ContentItem], batches: Iterable[Sequence[int]]) -> Told:
    judge = decider(live=False)
    in_force = replace(judge.in_force(), pipeline=made)
    judge = replace(judge, in_force=lambda: in_force)
    found: Told = {}
    for batch in batches:
        records = []
        for place in batch:
            value = json.dumps(row(items[place])).encode()
            headers = (("content-type", b"application/json"),)
            records.append(Record(Partition("in", 0), place, 1000, None, value, headers, len(value)))
        for outputs in judge.decide(records):
            for output in outputs if isinstance(outputs, list | tuple) else [outputs]:
                if output.topic == "decisions":
                    one = told(output)
                    found[one["item_id"]] = one
    return found


def by_http(place: Place, items: Sequence[ContentItem], batches: Iterable[Sequence[int]]) -> Told:
    found: Told = {}

    def request(batch: Sequence[int]) -> None:
        body = {"items": [row(items[one]) for one in batch]}
        status, _, answer = ask(place, "/v1/decisions", body, headers={"x-deadline-ms": "120000"})
        assert status == 200
        found.update({one["item_id"]: one for one in answer["decisions"]})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(request, batches))
    return found


def row(item: ContentItem) -> dict[str, Any]:
    (part,) = item.parts
    content = (
        {"text": part.content.decode()}
        if part.modality == "text"
        else {"image": base64.b64encode(part.content).decode()}
    )
    return {"id": item.id, **content}


def verdicts(found: Told, *names: str) -> dict[str, Any]:
    return {id_: [[one[name] for name in names] for one in told["verdicts"]] for id_, told in found.items()}


@pytest.mark.parametrize("count", [1_500, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("encoder", [FakeEncoder, Swayed], ids=["equal bytes", "bytes that company moves"])
def test_items_are_decided_alike_wherever_they_come_from(encoder: type[FakeEncoder], count: int) -> None:
    """From equal bytes, scores are equal to the last bit; where company moves bytes, no verdict is."""
    names = ("policy", "outcome", "action", "threshold") + (("score",) if encoder is FakeEncoder else ())
    items = [ContentItem(str(at), (part,), {}) for at, part in enumerate(contents(count))]
    places, chance = range(count), random.Random(9)
    locks = [lock(modalities=BOTH), lock("drugs", modalities=BOTH)]
    with serving(*locks, encoder=encoder(), most_items=count) as alone:
        expected = verdicts(by_pipeline(alone.pipeline, items, [[one] for one in places]), *names)
    assert len(expected) == count
    assert {tuple(one[0][1:3]) for one in expected.values()} > {("match", "remove"), ("no_match", None)}
    ways = [(by_pipeline, 200), (by_scan, 32), (by_stream, 700)]
    for way, largest in ways:
        with serving(*locks, encoder=encoder()) as place:
            assert verdicts(way(place.pipeline, items, cut(places, chance, largest)), *names) == expected
    with serving(*locks, encoder=encoder(), most_items=count) as place:
        assert verdicts(by_http(place, items, cut(places, chance, 400)), *names) == expected
        assert verdicts(by_http(place, items, cut(places, chance, 400)), *names) == expected  # hits
