"""The demo's streaming part on a real broker: its items go through a worker under shipped locks, each answered once."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from moderation.cli.demo_run import shipped_policies, stream_items
from moderation.cli.demo_stream import in_words, run_worker
from moderation.policy.decide import answer
from moderation.policy.loader import load_policy
from moderation.policy.lock import lock_path
from moderation.release.report import Judged
from moderation.settings import Settings
from tests.services.keeper import Addresses

pytestmark = pytest.mark.needs_kafka


def test_the_items_go_through_a_worker_under_the_same_locks(services: Addresses, tmp_path: Path) -> None:
    content, order = shipped_policies(), Settings().actions
    policy = load_policy(content / "weapons.yaml", action_names=order)
    some = itertools.islice(stream_items(content, [policy]), 24)
    stream = [Judged(known, part.content, answer(known.item_id, (), order, encoders={})) for known, part in some]
    found = run_worker(stream, [lock_path(content, "weapons")], kafka=services.kafka, out=tmp_path)
    assert (found.records, found.decisions, found.dead_letters, found.lost, found.repeated) == (24, 24, 0, 0, 0)
    assert in_words(found, services.kafka).startswith(
        f"24 records through a worker on {services.kafka}, exactly once: 24 decisions"
    )
