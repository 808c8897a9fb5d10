"""`moderation bench stream` on a real broker: it counts what a reader sees, fails where a bound is broken, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient

from tests.conftest import ROOT
from tests.stream.place import Place

pytestmark = pytest.mark.needs_kafka


def bench(config: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "moderation", "bench", "stream", str(config), "--json", *words],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_record_is_counted_though_workers_are_killed_and_nothing_is_left_behind(place: Place) -> None:
    code, found = bench(place.config(), "--items", "1500", "--kills", "2", "--repeat", "0.5")
    assert (code, found["broken"]) == (0, [])
    assert (found["records"], found["lost"], found["repeated"], found["kills"]) == (1500, 0, 0, 2)
    assert found["decisions"] + found["dead_letters"] == 1500
    assert found["rate"] > 0
    assert 0 < found["latency"]["p50"] <= found["latency"]["p99"] <= found["latency"]["largest"]
    admin = KafkaAdminClient(bootstrap_servers=place.address)
    assert not [one for one in admin.list_topics() if one.startswith("moderation-bench-")]
    admin.close()
    assert place.read("decisions") == []


def test_a_bound_that_is_broken_fails_it(place: Place) -> None:
    code, found = bench(place.config(), "--items", "30", "--rate", "20", "--max-p99", "0.000001", "--min-rate", "1e9")
    assert code == 8
    assert len(found["broken"]) == 2
    assert found["seconds"] > 0.9  # 22 measured records at 20 a second


def test_workers_that_do_not_answer_in_time_are_told_of(place: Place) -> None:
    words = [sys.executable, "-m", "moderation", "bench", "stream", str(place.config()), "--patience", "1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 69
    assert "no worker answered within 1 s; 1 of 1 workers run; their log ends with:\n" in done.stderr
