"""A run's folder: whole files alone count, what was begun on something else is refused, and beginnings are counted beyond a death."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from moderation.decision import Decision, Severity
from moderation.errors import DataError
from moderation.policy.lock import lock_path, write_lock
from moderation.release.record import Change, Record, encode_record, record_path
from moderation.scaleout import parts
from moderation.scaleout.caution import Caution
from moderation.scaleout.parts import Run, begin, end, notes_path, part_path, read_part, write_part
from moderation.settings import EncoderSettings, Settings
from moderation.source.portions import portions
from tests.fakes import lock


def decision(item: str) -> Decision:
    return Decision(item, f"of {item}", "allow", Severity.INFO, "allow", (), {})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    items = tmp_path / "items.jsonl"
    items.write_text('{"text": "a"}\n' * 5)
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(), path)
    return Run(list(portions([items], 2)), [path], Settings())


def numbers(folder: Path, run: Run) -> Sequence[int]:
    return [one.number for one in begin(folder, run)]


def test_a_run_goes_on_with_what_is_not_there_whole(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert numbers(out, run) == [0, 1, 2]
    write_part(out, 1, [decision("c"), decision("d")])
    write_part(out, 2, [decision("e")])
    assert numbers(out, run) == [0]
    assert [one.item_id for one in read_part(out, 1)] == ["c", "d"]
    part_path(out, 1).write_bytes(part_path(out, 1).read_bytes()[:-9])  # as a machine leaves it that loses its power
    write_part(out, 2, [decision("e"), decision("of another portion")])
    assert numbers(out, run) == [0, 1, 2]


def test_a_part_is_never_seen_half_and_may_be_written_by_two(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    real = parts.write_decisions

    def written(path: Path, *more: object) -> None:
        real(path, *more)  # type: ignore[arg-type]
        assert not part_path(tmp_path, 7).exists()
        seen.append(path)

    monkeypatch.setattr(parts, "write_decisions", written)
    write_part(tmp_path, 7, [decision("a")])
    part_path(tmp_path, 7).unlink()
    write_part(tmp_path, 7, [decision("a")])
    assert len(set(seen)) == 2
    assert [one.name for one in tmp_path.glob("*.parquet")] == ["decisions-000007.parquet"]


@pytest.mark.parametrize("what", ["policies", "input", "settings", "items, portions, input"])
def test_what_was_begun_on_something_else_is_refused(what: str, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin(out, run)
    if what == "policies":
        (path,) = run.locks
        change = Change("live", lock().revision, lock().policy_hash, "2026-11-28T00:00:00+00:00", "team", "", {})
        record_path(path).write_text(encode_record(Record("weapons", (change,))))
    elif what == "settings":
        run = replace(run, settings=Settings(encoders={"default": EncoderSettings(device="cpu")}))
    else:
        file = run.portions[0].spans[0].file
        file.write_text('{"text": "ab"}\n' * 5 if what == "input" else '{"text": "a"}\n' * 7)
        run = replace(run, portions=list(portions([file], 2)))
    with pytest.raises(DataError) as caught:
        begin(out, run)
    assert f"begun with something else ({what});" in str(caught.value)


def test_settings_that_decide_nothing_may_change_and_none_is_written_down(run: Run, tmp_path: Path) -> None:
    begin(tmp_path / "out", run)
    other = Settings.model_validate({"cache": {"redis": {"url": "redis://:hidden@host"}}})
    begin(tmp_path / "out", replace(run, settings=other))
    assert "hidden" not in json.dumps(replace(run, settings=other).to_dict())


def test_files_of_somebody_else_are_left_as_they_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "theirs.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"holds theirs\.parquet already"):
        begin(tmp_path, run)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("nonsense")
    with pytest.raises(DataError, match="cannot be read"):
        begin(tmp_path / "out", run)
    with pytest.raises(DataError, match="cannot be written"):
        begin(tmp_path / "theirs.parquet" / "below", run)


def test_what_was_found_out_of_a_portion_is_forgotten_as_a_run_goes_on(run: Run, tmp_path: Path) -> None:
    def hopeless(number: int) -> bool:
        return Caution(notes_path(tmp_path, number)).hopeless(2)

    begin(tmp_path, run)
    assert [hopeless(one) for one in (0, 0, 1, 0)] == [False, False, False, True]
    begin(tmp_path, run)
    assert not hopeless(0)
    end(tmp_path)
    assert [one.name for one in tmp_path.iterdir() if one.is_dir()] == []
    with pytest.raises(DataError, match="cannot be written"):
        Caution(notes_path(tmp_path / "run.json", 0))
