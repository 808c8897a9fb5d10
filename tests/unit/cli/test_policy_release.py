"""What the command line's tests of a release cannot show: two at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moderation.cli import policy_release
from moderation.cli.policy_lint import Linted
from moderation.release.record import Record, encode_record, read_record, record_path
from moderation.settings import Settings


def test_of_two_that_release_at_once_both_are_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(record: Record) -> str:
        time.sleep(0.2)
        return encode_record(record)

    monkeypatch.setattr(policy_release.policy_lint, "lint_all", lambda *_: Linted(1, ()))
    monkeypatch.setattr(policy_release, "shut_gates", lambda *_, **__: [])
    monkeypatch.setattr(policy_release, "encode_record", slowly)
    file = tmp_path / "weapons.lock.json"
    file.write_text("{}")
    policy: Any = SimpleNamespace(id="weapons", path=tmp_path / "weapons.yaml", audit=None)
    lock: Any = SimpleNamespace(revision="0" * 16, policy_hash="1" * 64)

    def put(who: str) -> object:
        return policy_release.put(policy, lock, file, Settings(), to="shadow", by=who)

    with ThreadPoolExecutor(2) as both:
        list(both.map(put, ("one", "other")))
    found = read_record(record_path(file))
    assert found
    assert sorted(change.by for change in found.changes) == ["one", "other"]
