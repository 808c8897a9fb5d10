"""Quotas of policies over HTTP, by the settings of a true server: a policy's is one for all keys, and no other policy's."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from moderation import assemble_serve
from moderation.plugin.brought import Plugins
from moderation.policy.lock import Quota, lock_path, write_lock
from moderation.release.record import Change, Record, encode_record, record_path
from moderation.settings import Settings
from tests.fakes import FakeEncoder, lock, plugins_with
from tests.served import BOTH, listening

POLICIES = {"shop": ("weapons",), "chat": ("drugs", "weapons"), "everything": None}
QUOTAS = {"weapons": 3, "drugs": 2}


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for policy, per_hour in QUOTAS.items():
        made, path = lock(policy, modalities=BOTH, quota=Quota(per_hour, "review")), lock_path(tmp_path, policy)
        write_lock(made, path)
        live = Change("live", made.revision, made.policy_hash, "2026-11-29", "a test", "to act", {})
        record_path(path).write_text(encode_record(Record(policy, (live,))), encoding="utf-8")
    keys: dict[str, dict[str, Any]] = {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), **({"policies": chosen} if chosen else {})}
        for name, chosen in POLICIES.items()
    }
    known = Plugins((), plugins_with().detectors, {"fake": lambda _: FakeEncoder()})
    monkeypatch.setattr(assemble_serve, "plugins", lambda _: known)
    own = {"locks": tuple(f"{one}.lock.json" for one in QUOTAS), "port": 0, "keys": keys}
    settings = Settings.model_validate({"encoders": {"default": {"loader": "fake"}}, "serve": own})
    with (
        assemble_serve.server(settings, folder=tmp_path) as app,
        listening(app, assemble_serve.serve_settings(settings)) as found,
    ):
        yield found


def asked(url: str, key: str) -> dict[str, str | None]:
    """By policy, what the decision on one more violating item was held back by."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:
        connection.request("POST", "/v1/decisions", b'{"items": [{"text": "0.95"}]}', headers)
        (decision,) = json.load(connection.getresponse())["decisions"]
    assert decision["action"] == ("remove" if any(not one["limit"] for one in decision["verdicts"]) else "review")
    return {one["policy"]: one["limit"] for one in decision["verdicts"]}


def test_a_policys_quota_is_one_for_all_keys_and_no_other_policys(url: str) -> None:
    assert [asked(url, "shop") for _ in range(2)] == [{"weapons": None}] * 2
    assert asked(url, "chat") == {"drugs": None, "weapons": None}
    assert asked(url, "shop") == {"weapons": "quota"}
    assert asked(url, "everything") == {"drugs": None, "weapons": "quota"}
    assert asked(url, "chat") == {"drugs": "quota", "weapons": "quota"}
