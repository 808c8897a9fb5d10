"""`moderation deliver` with the webhook plugin on a real broker, against a true web server: whatever fails, each decision arrives, and in order."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaProducer

from moderation.cli.main import run
from moderation.errors import ExitCode
from moderation.stream.client import records
from moderation.stream.dead_letter import DeadLetter, Stage, read_dead_letter
from tests.conftest import ROOT
from tests.examples.test_plugins import metadata
from tests.services.keeper import Addresses
from tests.stream.forms import forms
from tests.stream.ground import Ground
from tests.stream.place import started
from tests.stream.probed import ask
from tests.stream.receiver import Receiver, Reply, Request, receiver, resets, status

pytestmark = pytest.mark.needs_kafka

SECRET = "whsec_c2VjcmV0LW9mLWEtdGVzdC10aGF0LWlzLWxvbmctZW5vdWdo"
PLUGIN = ROOT / "plugins" / "moderation-webhook"
ACTIONS = ("allow", "review", "remove")
Setting = Callable[..., Path]


@pytest.fixture
def ground(services: Addresses) -> Ground:
    """Three partitions of decisions; the output are the dead letters."""
    return Ground.made(services.kafka, 3)


@pytest.fixture
def settings(ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """The settings of a deliverer, beside the plugin as an installation leaves it."""
    metadata(PLUGIN, tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HOOK_SECRETS", SECRET)

    def write(port: int, **deliver: Any) -> Path:
        stream = ground.settings("a", static_member=True, outputs=[], poll_records=100, stall_seconds=20.0)
        bootstrap = stream.pop("kafka")["bootstrap"]
        quick = {"sink": "webhook", "actions": ACTIONS[1:], "dead_letters": ground.output, "pause_seconds": 0.02, "longest_pause_seconds": 0.3, "timeout_seconds": 10.0}  # fmt: skip
        path = tmp_path / "deliver.toml"
        path.write_text(
            "\n".join(
                [
                    "[stream]", *lines(stream), "[stream.kafka]", *lines({"bootstrap": bootstrap}), "[deliver]", *lines({**quick, **deliver}),
                    "[plugins]", 'only = ["webhook"]', "[plugins.settings.webhook]",
                    *lines({"url": f"http://127.0.0.1:{port}/in", "secrets_env": "HOOK_SECRETS", "private": True, "timeout_seconds": 2.0}),
                ]
            ),
            encoding="utf-8",
        )  # fmt: skip
        return path

    return write


def lines(values: dict[str, Any]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items() if not isinstance(value, dict)]


def decided(number: int) -> dict[str, Any]:
    return {"decision_id": f"{number:032x}", "item_id": f"item {number}", "action": ACTIONS[number % 3]}


def feed(ground: Ground, numbers: range) -> None:
    """Write these decisions, in turn over the partitions by threes, so that each has every action."""
    producer = KafkaProducer(bootstrap_servers=ground.address)
    sent = [
        producer.send(
            ground.input, json.dumps(decided(one)).encode(), b"k%d" % one, partition=one // 3 % ground.partitions
        )
        for one in numbers
    ]
    for one in sent:
        one.get(timeout=30)
    producer.close()


def letters(ground: Ground) -> list[tuple[DeadLetter, bytes | None]]:
    """What is told in the dead-letter topic, and the bytes that were kept."""
    found = [one for partition, polled in ground.polled() for one in records({partition: polled})]
    return [(told, one.value) for one in found if (told := read_dead_letter(one))]


@contextmanager
def delivering(config: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """A deliverer's process, in a list whose last one is ended at the end."""
    running = [started(config, command="deliver")]
    try:
        yield running
    finally:
        running[-1].kill()
        running[-1].wait()


def until(done: Callable[[], bool], config: Path, within: float = 180.0) -> None:
    end = time.monotonic() + within
    while not done():
        assert time.monotonic() < end, config.with_suffix(".log").read_text()[-3000:]
        time.sleep(0.05)


def numbers(web: Receiver) -> list[int]:
    """The decisions that arrived, those that were turned away too, in order."""
    return [int(one.headers["webhook-id"], 16) for one in web.arrived]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@forms("rounds", short=(600, 3), full=(12_000, 40))
def test_an_endpoint_that_fails_at_random_and_kills_lose_no_decision_and_keep_their_order(
    ground: Ground, settings: Setting, rounds: tuple[int, int]
) -> None:
    count, kills = rounds
    chance = random.Random(7)
    refused = {number for number in range(count) if number % 3 and chance.random() < 0.03}
    taken: list[int] = []

    def answers(one: Request) -> Reply:
        number = int(one.headers["webhook-id"], 16)
        if chance.random() < 0.15:
            return chance.choice([status(500), status(503), status(429, Retry_After="0"), resets])
        if number in refused:
            return status(422)
        taken.append(number)
        return status(204)

    feed(ground, range(count))
    wanted = {number for number in range(count) if number % 3}
    with receiver() as web:
        web.answers = answers
        config = settings(web.port)
        with delivering(config) as running:
            for kill in range(kills):
                until(lambda kill=kill: len(set(taken)) > len(wanted) * (kill + 1) // (kills + 2), config)  # type: ignore[misc]
                running[-1].kill()
                assert running[-1].wait() == -signal.SIGKILL
                running.append(started(config, command="deliver"))
            until(lambda: sum(ground.committed().values()) == count, config)
            running[-1].terminate()
            assert running[-1].wait(20) == 0
    first = list(dict.fromkeys(taken))
    assert set(first) == wanted - refused
    for partition in range(3):
        of_one = [number for number in first if number // 3 % 3 == partition]
        assert of_one == sorted(of_one)
    found = letters(ground)
    assert {json.loads(value or b"")["item_id"] for _, value in found} == {f"item {number}" for number in refused}
    assert len(found) == len(refused)
    assert {(told.stage, told.cause) for told, _ in found} == {(Stage.DELIVER, "status_422")}
    print(f"{count} decisions, {kills} kills, {len(taken) - len(first)} repeated, {len(found)} set aside")


def test_an_endpoint_that_is_away_is_waited_for_and_dead_letters_come_back(
    ground: Ground, settings: Setting, capfd: pytest.CaptureFixture[str]
) -> None:
    port, probe = free_port(), free_port()
    config = settings(port, tries=2, probe={"port": probe}, log="json")
    config.write_text(config.read_text().replace("[plugins]", f"[deliver.probe]\nport = {probe}\n[plugins]"))
    feed(ground, range(90))

    def metric(line: str) -> bool:
        try:
            return line in ask(probe, "/metrics")[1]
        except OSError:
            return False

    with delivering(config) as running:
        until(lambda: metric('moderation_sink_away{sink="webhook"} 1.0'), config)
        time.sleep(2.0)  # some tries more than two of every partition's first decision
        assert ask(probe, "/readyz")[0] == ask(probe, "/healthz")[0] == 200
        with receiver(port=port) as web:
            web.answers = lambda one: status(422 if int(one.headers["webhook-id"], 16) == 31 else 204)
            until(lambda: sum(ground.committed().values()) == 90, config)
            assert metric('moderation_sink_away{sink="webhook"} 0.0')
            assert metric('moderation_deliveries_total{outcome="delivered"} 59.0')
            assert metric('moderation_deliveries_total{outcome="left_out"} 30.0')
            assert metric('moderation_dead_letters_total{stage="deliver"} 1.0')
            ((told, value),) = letters(ground)
            assert (told.cause, value) == ("status_422", json.dumps(decided(31)).encode())
            web.answers = lambda _: status(204)
            assert run(["dlq", "replay", str(config), "--stage", "deliver", "--yes"]) == 0
            assert "replayed 1 letter" in capfd.readouterr().out
            until(lambda: numbers(web).count(31) >= 2, config)
        running[-1].terminate()
        assert running[-1].wait(20) == 0
    log = config.with_suffix(".log").read_text()
    assert "the sink 'webhook' is left alone, and tried again now and then: unreachable" in log
    assert "the sink 'webhook' is back" in log
    assert "item " not in log
    assert SECRET not in log


def test_an_endpoint_that_is_gone_ends_the_process_for_a_person(ground: Ground, settings: Setting) -> None:
    feed(ground, range(30))
    with receiver() as web:
        web.answers = lambda _: status(410)
        config = settings(web.port)
        with delivering(config) as running:
            assert running[-1].wait(120) == ExitCode.UNWRITABLE
    assert "the sink 'webhook' takes no decision any more: status_410" in config.with_suffix(".log").read_text()
    assert letters(ground) == []
