"""What `moderation doctor` says of a true worker's brokers, topics and builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.cli.worker_health import CHECKS
from moderation.errors import ExitCode
from moderation.policy.lock import lock_path, read_lock
from moderation.release.record import record_path
from tests.stream.place import Place

pytestmark = pytest.mark.needs_kafka


def changed(config: Path, old: str, new: str) -> Path:
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return config


def test_topics_and_builds_that_are_there(place: Place) -> None:
    config = place.config()
    found = CHECKS["stream"](config)
    assert (found.usable, place.outputs["dlq"] in found.summary) == (True, True)
    locks = CHECKS["locks"](config)
    revision = read_lock(lock_path(place.locks, "weapons")).revision
    assert locks.details["weapons"] == f"revision {revision}, status live"
    assert "live: " in locks.summary
    for one in place.locks.glob("*.lock.json"):
        record_path(one).unlink()
    assert "none is live" in CHECKS["locks"](config).summary


@pytest.mark.parametrize("kind", ["input", "decisions"])
def test_a_topic_that_is_not_there_is_named(place: Place, kind: str) -> None:
    topic = place.input if kind == "input" else place.outputs[kind]
    found = CHECKS["stream"](changed(place.config(), f'"{topic}"', f'"{topic}-gone"'))
    assert f"{topic}-gone" in found.summary
    assert found.exit_code == (ExitCode.UNAVAILABLE if kind == "input" else ExitCode.UNWRITABLE)
