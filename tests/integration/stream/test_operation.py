"""What an operator sees of a true worker: metrics that add up, health, logs; and of what it judges, nothing."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from tests.services.process import free_ports
from tests.stream.place import Place, running, texts
from tests.stream.probed import ask
from tests.unit.test_decision_schema import CHECK

pytestmark = pytest.mark.needs_kafka

CANARY = "canary-3141"


def get(port: int, path: str) -> tuple[int, str]:
    try:
        return ask(port, path)
    except OSError:
        return 0, ""


def samples(text: str) -> dict[str, float]:
    """By `name{label=value}`; those without a label by their name."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(one.labels.items()))
            found[f"{one.name}{{{labels}}}" if labels else one.name] = one.value
    return found


def wait_for(port: int, path: str, status: int) -> str:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        found, body = get(port, path)
        if found == status:
            return body
        time.sleep(0.1)
    raise TimeoutError(f"{path}: {found}")


def wait_for_reloads(port: int, result: str, count: int) -> None:
    end = time.monotonic() + 180
    while samples(wait_for(port, "/metrics", 200))[f"moderation_reloads_total{{result={result}}}"] < count:
        assert time.monotonic() < end, result
        time.sleep(0.1)


def lines(log: Path) -> Iterator[dict[str, Any]]:
    """Every line of a log: each must be JSON."""
    for line in log.read_text().splitlines():
        yield json.loads(line)


def feed_canaries(place: Place) -> None:
    """Good and bad records, all of whose parts carry the canary."""
    row = {"id": CANARY, "text": CANARY, "attributes": {"surface": CANARY}}
    values = [json.dumps(row), json.dumps({**row, CANARY: 1}), CANARY, json.dumps({**row, "text": "0.9"})]
    producer = KafkaProducer(bootstrap_servers=place.address)
    for value in values:
        headers = [(CANARY, CANARY.encode()), ("id", CANARY.encode())]
        producer.send(place.input, value.encode(), CANARY.encode(), headers).get(timeout=30)
    producer.close()


def test_metrics_add_up_and_nothing_tells_of_an_item(place: Place) -> None:
    (port,) = free_ports(1)
    config = place.config(worker=f'log = "json"\nenvelope = "cloudevents"\nprobe = {{port = {port}}}')
    secret = f'[cache.redis]\nurl = "redis://:{CANARY}@127.0.0.1:1/0"\n'  # nobody is there
    config.write_text(config.read_text() + secret)
    place.feed([*texts(200), b"{nonsense"])
    feed_canaries(place)
    with running(config) as process:
        wait_for(port, "/readyz", 200)
        place.wait_for(205)
        body = wait_for(port, "/metrics", 200)
        health = wait_for(port, "/healthz", 200) + get(port, "/readyz")[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    found = samples(body)
    prefix = "moderation_"
    decisions = sum(value for name, value in found.items() if name.startswith(f"{prefix}decisions_total"))
    letters = sum(value for name, value in found.items() if name.startswith(f"{prefix}dead_letters_total"))
    assert (decisions, letters) == (len(place.read("decisions")), len(place.read("dlq"))) == (202, 3)
    for one in place.read("decisions"):
        CHECK.validate(json.loads(one.value))
        assert dict(one.headers)["ce_id"].decode() == json.loads(one.value)["decision_id"]
    assert found[f"{prefix}records_committed_total"] == found[f"{prefix}end_to_end_latency_seconds_count"] == 205
    consumed, in_flight = found[f"{prefix}records_consumed_total"], found[f"{prefix}in_flight_records"]
    assert consumed == 205 + in_flight
    assert found[f"{prefix}cache_requests_total{{encoder=default,result=miss}}"] >= 1
    assert found[f"{prefix}redis_faults_total{{result=errors}}"] >= 3
    assert any(name.startswith(f"{prefix}policy_info") and "status=live" in name for name in found)
    assert any(name.startswith(f"{prefix}consumer_lag_records") for name in found)
    log = config.with_suffix(".log")
    assert CANARY not in body + health + log.read_text()
    told = list(lines(log))
    assert [one["message"] for one in told if one["logger"] == "moderation.cli.worker"] == [
        "ready",
        "stopped in good order",
    ]
    aside = [one for one in told if one["message"] == "set aside"]
    assert {one["stage"] for one in aside} == {"decode"}
    assert sum(one["records"] for one in aside) == 3


def peak_bytes(process: int) -> int:
    """The largest memory that a process had so far."""
    (line,) = [
        one for one in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines() if "VmHWM" in one
    ]
    return 1024 * int(line.split()[1])


SLOW = """
import sys, time
from moderation.cli import main
from moderation.stream import envelope
read = envelope.read_item
def slow(record, **options):
    time.sleep(0.02)
    return read(record, **options)
envelope.read_item = slow
main.main(["worker", sys.argv[1]])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_burst_of_a_hundred_times_what_may_be_in_flight_takes_no_more_memory(place: Place) -> None:
    in_flight, count, size = 600_000, 600, 100_000
    config = place.config()
    lines = f"poll_records = 500\nin_flight_bytes = {in_flight}\nfetch_bytes = 2_000_000"
    config.write_text(config.read_text().replace("poll_records = 50", lines))
    wide = json.dumps({"text": "0.2", "attributes": {"note": "x" * size}}).encode()
    with running(config, code=SLOW) as process:
        place.feed([wide] * 10)
        place.wait_for(10)
        process.send_signal(signal.SIGSTOP)
        before = peak_bytes(process.pid)
        place.feed([wide] * count)
        process.send_signal(signal.SIGCONT)
        place.wait_for(count + 10)
        grown = peak_bytes(process.pid) - before
    assert count * size >= 100 * in_flight
    assert grown < 20_000_000  # a record is there as it came, decoded, and in the client's buffers
    assert set(place.answered().values()) == {1}


FALLS = """
import sys
from moderation.cli import main
from moderation.stream import envelope
def falls(record, **options):
    raise ValueError(f"cannot read {record.value!r}")
envelope.read_item = falls
main.main(["worker", sys.argv[1]])
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_bug_tells_its_place_and_not_what_it_stumbled_on(place: Place, form: str) -> None:
    config = place.config(worker=f'log = "{form}"')
    feed_canaries(place)
    with running(config, code=FALLS) as process:
        assert process.wait(120) == 1
    said = config.with_suffix(".log").read_text()
    assert "ValueError" in said
    assert "falls" in said
    assert CANARY not in said
