"""Which services can be had on this machine, without starting any."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

JARS = Path(__file__).resolve().parents[2] / "build" / "services" / "kafka"
KAFKA, REDIS = "MODERATION_TEST_KAFKA", "MODERATION_TEST_REDIS"  # addresses that win over starting a server


def lacking() -> dict[str, str]:
    """The markers whose tests cannot run here, each with what they need."""
    found = {}
    given = {name: os.environ.get(name) for name in (KAFKA, REDIS)}
    if given[KAFKA] or not own_broker():
        found["needs_own_kafka"] = f"a Kafka broker that the tests start (make services, without {KAFKA})"
    if not (given[KAFKA] or own_broker()):
        found["needs_kafka"] = f"a Kafka broker (make services, or {KAFKA})"
    if not (given[REDIS] or own_redis()):
        found["needs_redis"] = f"a Redis server (make services, or {REDIS})"
    return found


def own_broker() -> bool:
    """Whether a broker can be started."""
    return shutil.which("java") is not None and any(JARS.glob("kafka_*.jar"))


def own_redis() -> bool:
    """Whether a Redis server can be started."""
    return shutil.which("redis-server") is not None
