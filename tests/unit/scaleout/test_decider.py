"""What a worker does, in this process: portions into files, and what goes wrong told in a row that quotes nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble
from moderation.errors import EncoderError, ExitCode
from moderation.policy.lock import lock_path, write_lock
from moderation.scaleout.decide import of_each
from moderation.scaleout.decider import GIVEN_UP, Decider, Order, encoded
from moderation.scaleout.parts import read_part
from moderation.settings import Settings
from moderation.source.find import find
from moderation.source.portions import Portion, portions
from tests.fakes import FakeEncoder, lock

SECRET = "words that nobody may repeat"


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEncoder:
    """What a worker does to its process is undone."""
    fake = FakeEncoder()
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: fake)
    monkeypatch.setattr("moderation.telemetry.start", lambda _form: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.chdir(tmp_path)
    return fake


def order(folder: Path, **changes: Any) -> tuple[Order, list[Portion]]:
    (folder / "items.jsonl").write_text("".join(json.dumps({"id": str(n), "text": f"0.{n}"}) + "\n" for n in range(10)))
    path = lock_path(folder, "weapons")
    write_lock(lock(modalities=("image", "text")), path)
    found = find([Path("items.jsonl")], max_bytes=1000)  # from the folder on
    given = {"settings": Settings(), "locks": (path,), "out": folder / "out", "most": found.most, "folder": folder}
    return Order(**{**given, **changes}), list(portions(found.files, 4))


def rows(decider: Decider, cut: list[Portion]) -> dict[int, Any]:
    made = decider({"portion": [encoded(one) for one in cut]})
    return dict(zip(made["number"], made["wrong"], strict=True))


def test_each_portion_is_a_file(tmp_path: Path) -> None:
    own, cut = order(tmp_path, threads=3)
    assert rows(Decider(own), cut) == {0: "", 1: "", 2: ""}
    assert [[one.item_id for one in read_part(own.out, n)] for n in range(3)] == [
        list("0123"),
        list("4567"),
        list("89"),
    ]
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_workers_share_a_quota_that_each_counts_by_itself(tmp_path: Path) -> None:
    own, _ = order(tmp_path, settings=Settings.model_validate({"quota": {"share": 0.8}}))
    told = of_each(own, 4, threads=2)
    assert (told.settings.quota.share, told.threads, own.settings.quota.share) == (0.2, 2, 0.8)
    assert replace(told, settings=own.settings, threads=own.threads) == own


def test_what_goes_wrong_is_a_row_with_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, cut = order(tmp_path)
    monkeypatch.setattr(assemble, "pipeline", lambda *_, **__: raising(EncoderError("cannot be used")))
    assert json.loads(rows(Decider(own), cut)[1]) == ["cannot be used", ExitCode.ENCODER]


def test_an_error_that_nobody_foresaw_is_told_without_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from moderation.telemetry import TextLines

    own, cut = order(tmp_path)
    monkeypatch.setattr(assemble, "pipeline", lambda *_, **__: raising(ValueError(SECRET)))
    found = rows(Decider(own), cut)
    assert json.loads(found[0]) == ["portion 0: ValueError", ExitCode.INTERNAL]
    (first, *_) = [TextLines().format(one) for one in caplog.records]
    assert "exception.stacktrace" in first
    assert SECRET not in first + str(found)


def test_input_that_changed_meanwhile_is_no_part(tmp_path: Path) -> None:
    own, cut = order(tmp_path)
    (tmp_path / "items.jsonl").write_text('{"text": "a"}\n')
    found = rows(Decider(own), cut)
    assert "1 items where 4 were found before" in found[0]
    assert not list(own.out.glob("*.parquet"))


def test_a_portion_is_given_up_after_so_many_beginnings(tmp_path: Path) -> None:
    own, cut = order(tmp_path, attempts=2)
    assert [rows(Decider(own), cut[:1])[0] for _ in range(3)] == ["", "", GIVEN_UP]


def test_workers_of_another_version_decide_nothing(tmp_path: Path) -> None:
    own, cut = order(tmp_path, version="0.0.0")
    assert "expected 0.0.0, as here" in rows(Decider(own), cut)[0]


def raising(error: Exception) -> Any:
    raise error
