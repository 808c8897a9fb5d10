"""The true worker beside a detector that crashes, ends itself and hangs in its own process: it lives on, and every record is answered once."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from moderation.decision import Decision, Outcome
from moderation.policy.lock import lock_path, read_lock
from tests.stream.place import Place, running

pytestmark = pytest.mark.needs_kafka

WILD = """
import os, time
from pathlib import Path
from moderation import Modality, Score, hookimpl

class Wild:
    id = "wild"
    labels = ("risk",)
    modalities = frozenset({Modality.TEXT})
    needs_embeddings = False
    def detect(self, batch):
        Path(__file__).with_name(f"life-{os.getpid()}").touch()
        print("canary-7d1e", flush=True)
        texts = [part.content for part in batch.parts]
        if b"0.01" in texts: os.abort()
        if b"0.02" in texts: os._exit(3)
        if b"0.03" in texts: time.sleep(100)
        return [(Score("risk", 0.25),) for _ in texts]

@hookimpl
def register_detectors(registry):
    registry.add(Wild())
"""


@pytest.fixture
def lives(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed plugin, where each of its processes leaves its number; the policy needs it."""
    folder = place.folder / "plugin"
    information = folder / "wild-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: wild\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[moderation]\nwild = wild\n")
    (folder / "wild.py").write_text(WILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    place.release(replace(read_lock(lock_path(place.locks, "weapons")), detectors=("wild",)))
    return folder


def config(place: Place) -> Path:
    # Time enough for a fresh process on a busy machine, and no rest: each batch is to be tried.
    own = """
reload_seconds = 0.2
[plugins]
only = ["wild"]
isolated = ["wild"]
[detectors]
timeout_seconds = 6.0
faults_before_quarantine = 1000
"""
    return place.config(worker=own)


def alive(folder: Path) -> list[str]:
    """The processes that are at work; an orphan that is dead is waited for by init, whenever that finds the time."""
    return [number for one in folder.glob("life-*") if at_work(number := one.name.removeprefix("life-"))]


def at_work(number: str) -> bool:
    try:
        return Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def feed(place: Place, number: int, *texts: str) -> None:
    """Texts in one batch, and wait until so many records are answered in all."""
    place.feed([json.dumps({"id": f"{number} {text}", "text": text}).encode() for text in texts])
    place.wait_for(number + len(texts))


def test_a_detector_that_takes_its_process_down_costs_abstentions_and_no_record(place: Place, lives: Path) -> None:
    good = ("0.1",) * 30
    batches = [good, ("0.01", *good), ("0.02", *good), ("0.03", *good), good]
    log = config(place)
    with running(log) as process:
        fed = 0
        for texts in batches:
            feed(place, fed, *texts)
            fed += len(texts)
            assert process.poll() is None
        assert len(alive(lives)) == 1
        first = read_lock(lock_path(place.locks, "weapons"))
        place.release(replace(first, version="2.0.0"))
        time.sleep(1.0)
        feed(place, fed, *good)
        assert len(alive(lives)) == 1, "a reload leaves no process behind, and needs no new one"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert alive(lives) == []
    assert len(list(lives.glob("life-*"))) == 4  # three deaths
    total = fed + len(good)
    assert len(place.answered()) == total
    assert set(place.answered().values()) == {1}
    assert place.read("dlq") == []
    decisions = [Decision.from_dict(json.loads(record.value)) for record in place.read("decisions")]
    causes = Counter((one.verdicts[0].error, one.verdicts[0].cause) for one in decisions)
    assert {cause for cause in causes if cause[0]} == {
        ("detector_error", "SIGABRT"), ("detector_error", "exit_3"), ("detector_timeout", None),
    }  # fmt: skip
    for one in decisions:
        number, text = one.item_id.split()
        verdict = one.verdicts[0]
        if text in {"0.01", "0.02", "0.03"}:
            assert (verdict.outcome, one.action) == (Outcome.ERROR, "review")
        elif int(number) in (0, fed):
            assert (verdict.outcome, verdict.score) == (Outcome.NO_MATCH, 0.25)
    assert "canary-7d1e" not in log.with_suffix(".log").read_text()


def test_a_worker_that_is_killed_takes_its_detectors_along(place: Place, lives: Path) -> None:
    with running(config(place)) as process:
        feed(place, 0, "0.1")
        place.feed([json.dumps({"id": "hang", "text": "0.03"}).encode()])
        time.sleep(1.0)
        assert len(alive(lives)) == 1
        process.kill()
        process.wait()
        end = time.monotonic() + 1.0
        while alive(lives):
            assert time.monotonic() < end
            time.sleep(0.01)
