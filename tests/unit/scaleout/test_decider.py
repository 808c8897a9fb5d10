"""What a worker does, in this process: portions into files, and what goes wrong told in a row that quotes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moderation import assemble
from moderation.errors import EncoderError, ExitCode
from moderation.policy.lock import lock_path, write_lock
from moderation.scaleout.caution import MOST, TRIES
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


class Death(BaseException):
    """The end of a worker: nothing of it is caught, and nothing is told."""


class Deadly(FakeEncoder):
    """Dies of some texts, and remembers what it was asked for."""

    def __init__(self, *deadly: str) -> None:
        super().__init__()
        self.deadly, self.asked = set(deadly), list[list[str]]()

    def encode_text(self, texts: Sequence[str]) -> Any:
        if texts[0].startswith("0."):  # of the items, not of what is tried as it starts
            self.asked.append(list(texts))
        if self.deadly.intersection(texts):
            raise Death
        return super().encode_text(texts)


@pytest.fixture
def deadly(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Deadly]:
    def made(*texts: str) -> Deadly:
        encoder = Deadly(*texts)
        monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: encoder)
        monkeypatch.setattr("moderation.scan.BATCH", 4)
        return encoder

    return made


def lives(own: Order, portion: Portion, *, most: int = 30) -> tuple[int, str]:
    """How many workers died before one brought a row, and what it says."""
    for died in range(most):
        try:
            return died, rows(Decider(own), [portion])[portion.number]
        except Death:
            continue
    raise AssertionError("it never ends")


def test_an_entry_that_kills_is_found_and_is_an_error_beside_others_that_are_decided(
    tmp_path: Path, deadly: Callable[..., Deadly]
) -> None:
    own, _ = order(tmp_path)
    (whole,) = portions([tmp_path / "items.jsonl"], 10)
    deadly("0.5")
    # One death without a note, one of a batch, two of the entry alone.
    assert lives(own, whole) == (2 + TRIES, "")
    verdicts = {one.item_id: one.verdicts[0] for one in read_part(own.out, 0)}
    assert list(verdicts) == list("0123456789")
    assert {name: (one.error, one.cause) for name, one in verdicts.items() if one.error} == {"5": ("crash", "killed")}


def test_each_of_several_entries_that_kill_is_found(tmp_path: Path, deadly: Callable[..., Deadly]) -> None:
    own, _ = order(tmp_path)
    (whole,) = portions([tmp_path / "items.jsonl"], 10)
    deadly("0.5", "0.6", "0.9")
    assert lives(own, whole)[1] == ""
    assert [one.item_id for one in read_part(own.out, 0) if one.verdicts[0].error] == ["5", "6", "9"]


def test_of_many_that_kill_it_is_not_the_entries(tmp_path: Path, deadly: Callable[..., Deadly]) -> None:
    own, _ = order(tmp_path)
    (whole,) = portions([tmp_path / "items.jsonl"], 10)
    deadly(*(f"0.{n}" for n in range(10)))
    died, told = lives(own, whole)
    assert (told, died) == (GIVEN_UP, 2 + TRIES * (MOST + 1))


def test_batches_are_the_same_until_one_has_killed(tmp_path: Path, deadly: Callable[..., Deadly]) -> None:
    own, _ = order(tmp_path)
    (whole,) = portions([tmp_path / "items.jsonl"], 10)
    encoder = deadly()
    assert lives(own, whole) == (0, "")
    plain, encoder.asked, encoder.deadly = encoder.asked, [], {"0.5"}
    with pytest.raises(Death):  # it is the second beginning: each batch is noted
        rows(Decider(own), [whole])
    assert encoder.asked == plain[:2]
    encoder.asked, encoder.deadly = [], set()
    assert lives(own, whole) == (0, "")
    assert encoder.asked == [plain[0], ["0.4"], ["0.5"], ["0.6"], ["0.7"], plain[2]]


def test_a_portion_is_given_up_after_so_many_beginnings_that_told_nothing(tmp_path: Path) -> None:
    own, cut = order(tmp_path, attempts=2)
    assert [rows(Decider(own), cut[:1])[0] for _ in range(3)] == ["", "", GIVEN_UP]


def test_workers_of_another_version_decide_nothing(tmp_path: Path) -> None:
    own, cut = order(tmp_path, version="0.0.0")
    assert "expected 0.0.0, as here" in rows(Decider(own), cut)[0]


def raising(error: Exception) -> Any:
    raise error
