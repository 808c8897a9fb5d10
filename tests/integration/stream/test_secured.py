"""A true worker where everything asks for a password over TLS: brokers (SCRAM) and Redis; and what it says where one of them is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moderation.cli.main import run
from moderation.decision import Decision
from moderation.errors import ExitCode
from tests.integration.stream.test_operation import samples, wait_for
from tests.services.keeper import Addresses, Secure
from tests.services.process import free_ports
from tests.services.redis import Redis
from tests.stream.crew import SHORT, Crew
from tests.stream.place import Place, mixed, running
from tests.stream.tally import tally

pytestmark = [pytest.mark.needs_own_kafka, pytest.mark.needs_redis]

WORD = "a-secret-word-3141"


@pytest.fixture
def secure(services: Addresses) -> Secure:
    assert services.secure
    return services.secure


@pytest.fixture
def secured_redis(tmp_path: Path) -> Iterator[Redis]:
    one = Redis.secured(tmp_path / "redis", WORD)
    one.start()
    try:
        one.wait_until_ready()
        yield one
    finally:
        one.stop()


def sections(secure: Secure, *, password: str = "", ca_file: str | Path = "") -> str:
    """How the brokers are spoken to."""
    return f"""
[stream.kafka.tls]
ca_file = "{ca_file or secure.ca_file}"
[stream.kafka.sasl]
mechanism = "SCRAM-SHA-512"
username = "{secure.username}"
password = "{password or secure.password}"
"""


def redis_section(server: Redis, word: str) -> str:
    return f'[cache]\nmax_bytes = 0\n[cache.redis]\nurl = "rediss://:{word}@{server.address}/0?ssl_ca_certs={server.certificate}"\n'


def test_scram_over_tls_and_a_redis_with_password_and_tls(place: Place, secure: Secure, secured_redis: Redis) -> None:
    (port,) = free_ports(1)
    own = f"probe = {{port = {port}}}\n{redis_section(secured_redis, WORD)}{sections(secure)}"
    config = place.config(worker=own, bootstrap=secure.address, **SHORT)
    place.feed(mixed(300))
    with Crew(place, config) as crew:
        crew.work()
        found = samples(wait_for(port, "/metrics", 200))
        crew.drain()
        assert crew.ends.total() == 0
    assert found["moderation_cache_requests_total{encoder=default,result=hit}"] > 0
    assert found["moderation_redis_faults_total{result=errors}"] == 0
    decisions = [Decision.from_dict(json.loads(one.value)) for one in place.read("decisions")]
    assert {one.action for one in decisions} == {"allow", "review", "remove"}
    assert tally(place).whole
    said = config.with_suffix(".log").read_text()
    assert WORD not in said
    assert secure.password not in said


@pytest.mark.parametrize("words", [["dlq", "list"], ["dlq", "replay"], ["bench", "stream"]], ids=" ".join)
def test_every_command_that_is_refused_says_why(
    place: Place, secure: Secure, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = place.config(worker=sections(secure, password=WORD), bootstrap=secure.address, **SHORT)
    assert run([*words, str(config)]) == ExitCode.DENIED
    said = "".join(capsys.readouterr())
    assert f"the brokers refuse user '{secure.username}': Authentication failed" in said
    assert WORD not in said


@pytest.mark.parametrize("wrong", ["password", "authority", "mechanism"])
def test_who_is_refused_says_why_and_ends_for_a_person(
    place: Place, secure: Secure, secured_redis: Redis, wrong: str
) -> None:
    own = {
        "password": sections(secure, password=WORD),
        "authority": sections(secure, ca_file=secured_redis.certificate),
        "mechanism": sections(secure).replace("SCRAM-SHA-512", "SCRAM-SHA-256"),
    }[wrong]
    says = {
        "password": f"the brokers refuse user '{secure.username}': Authentication failed",
        "authority": f"the certificate of {secure.address} cannot be verified: ",
        "mechanism": "the brokers do not know the SASL mechanism SCRAM-SHA-256",
    }[wrong]
    config = place.config(worker=own, bootstrap=secure.address, **SHORT)
    began = time.monotonic()
    with running(config) as worker:
        assert worker.wait(120) == ExitCode.DENIED
    assert time.monotonic() - began < 60
    said = config.with_suffix(".log").read_text()
    assert says in said.splitlines()[-1]
    assert WORD not in said
    assert secure.password not in said


@pytest.mark.parametrize("wrong", ["no TLS: remove the section", "TLS, for which there is no section"])
def test_brokers_that_are_spoken_to_in_the_wrong_way_say_so(place: Place, secure: Secure, wrong: str) -> None:
    ours = wrong.startswith("no")
    own, address = (
        (f'[stream.kafka.tls]\nca_file = "{secure.ca_file}"', place.address) if ours else ("", secure.address)
    )
    config = place.config(worker=own, bootstrap=address, **SHORT)
    with running(config) as worker:
        assert worker.wait(120) == ExitCode.DENIED
    assert f"{address} speaks {wrong} stream.kafka.tls" in config.with_suffix(".log").read_text().splitlines()[-1]


def test_a_wrong_password_of_redis_costs_the_cache_alone(place: Place, secure: Secure, secured_redis: Redis) -> None:
    (port,) = free_ports(1)
    own = f"probe = {{port = {port}}}\n{redis_section(secured_redis, 'a-wrong-word-2718')}{sections(secure)}"
    config = place.config(worker=own, bootstrap=secure.address, **SHORT)
    place.feed(mixed(100))
    with Crew(place, config) as crew:
        crew.work()
        found = samples(wait_for(port, "/metrics", 200))
        crew.drain()
    assert found["moderation_redis_faults_total{result=errors}"] > 0
    assert tally(place).whole
    assert "a-wrong-word-2718" not in config.with_suffix(".log").read_text()
