"""A true worker on records whose content lies on a true web server, among ordinary ones."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from typing import Any

import pytest

from moderation.decision import Decision
from moderation.stream.dead_letter import PREFIX
from tests.fetcher.origin import Answer, Origin, in_turn, origin, sends
from tests.integration.stream.test_operation import samples, wait_for
from tests.services.process import free_ports
from tests.stream.place import CONFIDENCES, Place, running

pytestmark = pytest.mark.needs_kafka

FETCHED = 120
TOKEN = "token-3141"


def hangs(_: BaseHTTPRequestHandler) -> None:
    time.sleep(30.0)


def late(answer: Answer) -> Answer:
    def later(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.2)
        answer(handler)

    return later


def serve(web: Origin) -> None:
    """A picture for each confidence; some come late, so that answers overtake each other."""
    for number, one in enumerate(CONFIDENCES):
        answer = sends(str(one).encode())
        web.answers[f"/{one}?{TOKEN}"] = late(answer) if number % 9 == 0 else answer
    web.answers["/gone"] = sends(b"", status=404)
    web.answers["/hangs"] = hangs
    web.answers["/back"] = in_turn(sends(b"", status=503), sends(b"0.99"))


def records(web: Origin) -> list[dict[str, Any]]:
    """Texts, references, and both in one item, in turn; then what cannot be had."""
    place = f"http://localhost:{web.port}"
    good: list[dict[str, Any]] = []
    for number in range(FETCHED):
        one = CONFIDENCES[number % len(CONFIDENCES)]
        far = {"reference": f"{place}/{one}?{TOKEN}"}
        good.append([{"text": str(one)}, far, {"parts": [{"text": "0.01"}, far]}][number % 3])
    bad = [f"{place}/gone", f"{place}/hangs", "http://127.0.0.1/", f"https://localhost:{web.port}/", "s3://bucket/key"]
    return [*good, *({"reference": one} for one in bad), {"reference": f"{place}/back"}]


def test_references_are_answered_among_others_exactly_once_and_in_order(place: Place) -> None:
    (port,) = free_ports(1)
    with origin() as web:
        serve(web)
        rows = [{"id": f"item {number}", **row} for number, row in enumerate(records(web))]
        sections = f'fetches = 8\n[fetch.http]\nprivate_hosts = ["localhost:{web.port}"]\ntimeout_seconds = 6.0'
        config = place.config(worker=f'log = "json"\nprobe = {{port = {port}}}\n{sections}')
        place.feed([json.dumps(row).encode() for row in rows])
        with running(config) as process:
            place.wait_for(len(rows))
            body = wait_for(port, "/metrics", 200)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert place.answered() == Counter({(n % 3, n // 3): 1 for n in range(len(rows))})

    letters = [{name: value.decode() for name, value in one.headers} for one in place.read("dlq")]
    assert Counter((one[PREFIX + "stage"], one[PREFIX + "cause"]) for one in letters) == {
        ("fetch", "not_found"): 1, ("fetch", "too_slow"): 1, ("fetch", "no_fetcher"): 2, ("fetch", "host_not_allowed"): 1,
    }  # fmt: skip
    found = samples(body)
    assert found["moderation_dead_letters_total{stage=fetch}"] == len(letters) == 5

    decided = [Decision.from_dict(json.loads(one.value)) for one in place.read("decisions")]
    by_item = {one.item_id: one for one in decided}
    scores = [by_item[f"item {number}"].verdicts[0].score for number in range(FETCHED)]
    rising = sorted(range(FETCHED), key=lambda number: CONFIDENCES[number % len(CONFIDENCES)])
    assert all(scores[one] <= scores[after] for one, after in pairwise(rising))  # each has the content that it named
    assert len(set(scores)) == len(CONFIDENCES)
    assert by_item[f"item {len(rows) - 1}"].action == "remove"  # the one that was busy at first
    offsets = defaultdict(list)  # by the partitions it came from and went to: within both, order is kept
    for one in place.read("decisions"):
        told = dict(one.headers)
        offsets[one.partition, told["moderation.source.partition"]].append(int(told["moderation.source.offset"]))
    assert all(found == sorted(found) for found in offsets.values())

    seen = body + config.with_suffix(".log").read_text() + json.dumps(letters)
    assert TOKEN not in seen
    assert "127.0.0.1" not in json.dumps(letters)


def test_a_scheme_that_nobody_brings_is_told_before_anything_is_read(place: Place) -> None:
    config = place.config(worker='[fetch.ipfs]\nhosts = ["any"]')
    place.feed([b"{}"])
    with running(config) as process:
        assert process.wait(120) == 14
    assert "needs the fetcher 'ipfs', which no plugin provides" in config.with_suffix(".log").read_text()
    assert place.answered() == Counter()
