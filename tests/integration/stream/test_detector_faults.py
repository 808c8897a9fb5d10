"""A plugin's detectors that raise, hang and answer rubbish under a true worker: each record has its decision, with the abstention, in time."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from moderation.decision import Decision, Outcome
from moderation.detector.faults import BAD_ANSWER, ERROR, FAULTS, TIMEOUT
from moderation.errors import ExitCode
from tests.integration.stream.test_operation import samples, wait_for
from tests.services.process import free_ports
from tests.stream.crew import SHORT, Crew
from tests.stream.forms import forms
from tests.stream.place import Place, mixed
from tests.stream.tally import tally

pytestmark = pytest.mark.needs_kafka

PLUGIN = """
import itertools, threading, time
from moderation import Modality, Score, hookimpl

GOOD = (Score("risk", 0.0),)

class Faulty:
    labels, modalities, needs_embeddings = ("risk",), frozenset({Modality.IMAGE, Modality.TEXT}), False

    def __init__(self, id, *ways):
        self.id, self.ways = id, itertools.cycle(ways)

    def detect(self, batch):
        return next(self.ways)(batch)

def raises(kind):
    def way(batch):
        raise kind(batch.parts[0].content)
    return way

def hangs(batch):
    threading.Event().wait()

def late(batch):
    time.sleep(0.6)
    return good(batch)

def good(batch):
    return [GOOD] * len(batch)

def says(answer):
    return lambda batch: [answer] * len(batch)

class Risky(float):
    def __float__(self):
        raise OSError

RUBBISH = (
    lambda batch: None,
    lambda batch: [GOOD] * (len(batch) + 1),
    lambda batch: (GOOD for one in batch.parts),
    says((Score("other", 0.9),)), says(()), says("risk"), says(None), says(GOOD * 2 + (0.9,)),
)
RAISED = (raises(ValueError), raises(SystemExit), raises(MemoryError), raises(KeyboardInterrupt))

@hookimpl
def register_detectors(registry):
    registry.add(Faulty("raises", *RAISED))
    registry.add(Faulty("hangs", hangs))
    registry.add(Faulty("rubbish", *RUBBISH))
    registry.add(Faulty("moody", good, good, late, good, RAISED[0], RUBBISH[0], good))
"""
SECTION = "[detectors]\ntimeout_seconds = 0.3\nfaults_before_quarantine = 3\nquarantine_seconds = 0.5"
IDS = ("raises", "hangs", "rubbish", "moody")


def install(place: Place) -> None:
    """The plugin as pip would leave it, found by its entry point; and a policy for each of its detectors."""
    info = place.folder / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[moderation]\nfaulty = faulty\n")
    (place.folder / "faulty.py").write_text(PLUGIN)
    for id_ in IDS:
        place.release(place.made(f"policy-{id_}", detectors=(id_,)))


@forms("rounds", short=3, full=100)
def test_a_detector_that_raises_hangs_or_answers_rubbish_costs_its_own_verdict_only(place: Place, rounds: int) -> None:
    install(place)
    (port,) = free_ports(1)
    with Crew(place, place.config(worker=f"probe = {{port = {port}}}\n{SECTION}", **SHORT)) as crew:
        for number in range(rounds):
            place.feed(mixed(100, number))
            crew.work()
        found = samples(wait_for(port, "/metrics", 200))
        crew.drain()
        assert crew.ends.total() == 0
    assert tally(place).whole
    faults = {(id_, reason): found.get(f"moderation_detector_faults_total{{detector={id_},reason={reason}}}", 0)
              for id_ in ("weapons", *IDS) for reason in (ERROR, TIMEOUT, BAD_ANSWER)}  # fmt: skip
    print({key: count for key, count in faults.items() if count})
    assert {key for key, count in faults.items() if count and key[0] != "moody"} == {
        ("raises", ERROR), ("hangs", TIMEOUT), ("rubbish", BAD_ANSWER),
    }  # fmt: skip
    in_time = found["moderation_batch_duration_seconds_bucket{le=2.5,step=detect}"]
    assert in_time == found["moderation_batch_duration_seconds_count{step=detect}"]
    check_verdicts(place)


def check_verdicts(place: Place) -> None:
    """An abstention is an error, unless the policy's own detector asks for as much as `on_error` does; a policy beside it is not touched."""
    seen: Counter[tuple[str, str]] = Counter()
    for one in place.read("decisions"):
        verdicts = {verdict.policy: verdict for verdict in Decision.from_dict(json.loads(one.value)).verdicts}
        alone = verdicts.pop("weapons")
        assert alone.outcome is not Outcome.ERROR
        assert set(verdicts) == {f"policy-{id_}" for id_ in IDS}
        for policy, verdict in verdicts.items():
            if verdict.outcome is Outcome.ERROR:
                assert verdict.error in FAULTS
                assert (verdict.action, alone.action) == ("review", None)
            else:
                assert (verdict.action, verdict.score) == (alone.action, alone.score)
            seen[policy, verdict.outcome] += 1
    assert all(seen[f"policy-{id_}", Outcome.ERROR] > 0 for id_ in IDS)
    assert all(seen[f"policy-{id_}", Outcome.NO_MATCH] == 0 for id_ in IDS if id_ != "moody")
    assert seen["policy-moody", Outcome.NO_MATCH] > 0


# An encoder that works when the worker starts, and after some batches fails on all that it is asked, as a device that is lost does.
BREAKS = """
import sys
from moderation.cli import main
from moderation.encoder.recorded import RecordedEncoder

def breaks(encode, left=[24]):  # sixteen of them are made contents that it is tried with at the start
    def encode_or_raise(self, contents):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("device-side assert")
        return encode(self, contents)
    return encode_or_raise

for name in ("encode_text", "encode_images"):
    setattr(RecordedEncoder, name, breaks(getattr(RecordedEncoder, name)))
main.main(["worker", sys.argv[1]])
"""


@forms("records", short=100, full=3000)
def test_an_encoder_that_breaks_is_no_fault_of_what_it_was_asked(place: Place, records: int) -> None:
    config = place.config(**SHORT)
    with Crew(place, config, code=BREAKS) as crew:
        place.feed(mixed(records, 7))
        crew.work(within=300 + records / 5)
        crew.drain()
        print(dict(crew.ends))
        assert set(crew.ends) == {ExitCode.RESTART}
    assert tally(place).whole
    outcomes = {
        verdict.outcome
        for one in place.read("decisions")
        for verdict in Decision.from_dict(json.loads(one.value)).verdicts
    }
    assert Outcome.ERROR not in outcomes
