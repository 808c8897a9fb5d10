"""The lock: every field survives, the same lock gives the same bytes, and what is damaged is refused by name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from moderation.decision import Severity
from moderation.errors import LockError
from moderation.item import Modality
from moderation.policy.calibration import Calibration
from moderation.policy.lock import Lock, LockedAction, LockedReader, Quota, lock_path, read_lock, write_lock
from tests.conftest import ROOT

ARRAYS = {
    "violating": np.arange(6, dtype=np.float32).reshape(2, 3),
    "numbers": np.array([0.1, 1 / 3], np.float64),
}


def make_lock(**changes: object) -> Lock:
    certified = LockedAction("remove", "precision", 0.95, 0.9, 0.8123, {"n": 3, "bound": 0.951}, None)
    short = LockedAction(
        "review", "recall", 0.9, 0.9, None, None, {"more_violating": 12, "reason": "zu wenige – wirklich"}
    )
    values = {
        "policy": "weapons",
        "version": "1.2.0",
        "policy_hash": "ab" * 32,
        "severity": Severity.HIGH,
        "on_error": "review",
        "modalities": (Modality.IMAGE, Modality.TEXT),
        "encoder": "default",
        "encoder_identity": "0123456789abcdef",
        "encoder_numeric": "torch-cpu-float32",
        "width": 3,
        "level": "L1",
        "arrays": ARRAYS,
        "phrases": ("a handgun", "ein Gewehr, groß"),
        "actions": (certified, short),
        "detectors": ("nsfw-plugin",),
        "surfaces": ("listing_photo",),
        "languages": ("en", "de"),
        "max_parts": 4,
        "calibration": Calibration("isotonic", knots=((0.1, 0.0), (0.9, 1 / 3))),
        "share": 0.05,
        "quota": Quota(500, "review"),
        "readers": (LockedReader("tiles", "1-96-64", 49), LockedReader("frames", "", 0)),
        "evidence": {"level": {"chosen": "L1", "numbers": [1, 2.5, None, True]}},
    }
    return Lock(**{**values, **changes})


def test_every_field_survives_the_way_through_the_files(tmp_path: Path) -> None:
    lock = make_lock()
    path = lock_path(tmp_path, "weapons")
    write_lock(lock, path)
    found = read_lock(path)
    for field in dataclasses.fields(Lock):
        if field.name == "arrays":
            continue
        assert getattr(found, field.name) == getattr(lock, field.name), field.name
    assert set(found.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        assert found.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[name], array)
    assert found.revision == lock.revision


def test_the_same_lock_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_lock(make_lock(arrays=dict(reversed(ARRAYS.items()))), lock_path(tmp_path / folder, "weapons"))
        write_lock(make_lock(), lock_path(tmp_path / folder, "weapons"))
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["weapons.lock.json", "weapons.lock.safetensors"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1.2.1"},
        {"evidence": {}},
        {"max_parts": 5},
        {"share": 0.5},
        {"quota": None},
        {"quota": Quota(501, "review")},
        {"readers": (LockedReader("tiles", "1-96-64", 49),)},
        {"readers": ()},
        {"arrays": {**ARRAYS, "numbers": np.array([0.1, 0.3], np.float64)}},
        {"actions": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_revision_moves_with_any_field(change: dict[str, object]) -> None:
    assert make_lock(**change).revision != make_lock().revision
    assert make_lock().revision == make_lock().revision


def test_the_revision_is_the_beginning_of_the_json_files_own_sum(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(make_lock(), path)
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(make_lock().revision)


def test_a_lock_of_before_there_were_readers_is_the_same_build(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(make_lock(readers=()), path)
    assert "readers" not in json.loads(path.read_text(encoding="utf-8"))
    assert read_lock(path).readers == ()
    shipped = lock_path(ROOT / "policies", "weapons")
    assert hashlib.sha256(shipped.read_bytes()).hexdigest().startswith(read_lock(shipped).revision)


def _break_json(path: Path, **changes: object) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "named", "expected"),
    [
        (
            lambda json_file, _: json_file.unlink(),
            "weapons.lock.json",
            "cannot be read: No such file or directory; moderation policy compile FILE",
        ),
        (lambda _, arrays: arrays.unlink(), "weapons.lock.safetensors", "cannot be read"),
        (lambda json_file, _: json_file.write_text('{"policy": "wea'), "weapons.lock.json", "lock/v1"),
        (lambda json_file, _: json_file.write_bytes(b"\xff\xfe\x00"), "weapons.lock.json", "lock/v1"),
        (lambda json_file, _: _break_json(json_file, schema="lock/v9"), "weapons.lock.json", "lock/v1"),
        (lambda json_file, _: _break_json(json_file, width="3"), "weapons.lock.json", "width"),
        (lambda json_file, _: _break_json(json_file, level="L9"), "weapons.lock.json", "level"),
        (lambda json_file, _: _break_json(json_file, surprise=1), "weapons.lock.json", "surprise"),
        (lambda _, arrays: arrays.write_bytes(arrays.read_bytes()[:-1]), "weapons.lock.safetensors", "SHA-256"),
        (lambda _, arrays: arrays.write_bytes(b""), "weapons.lock.safetensors", "SHA-256"),
    ],
)
def test_a_damaged_missing_or_foreign_file_is_refused_by_name(
    tmp_path: Path, damage, named: str, expected: str
) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(make_lock(), path)
    damage(path, tmp_path / "weapons.lock.safetensors")
    with pytest.raises(LockError) as error:
        read_lock(path)
    assert named in str(error.value)
    assert expected in str(error.value)


def test_a_lock_that_is_nearly_named_is_told(tmp_path: Path) -> None:
    write_lock(make_lock(), lock_path(tmp_path, "weapons"))
    with pytest.raises(LockError, match=r"No such file or directory; did you mean '\S+/weapons\.lock\.json'\?$"):
        read_lock(lock_path(tmp_path, "wepons"))


@pytest.mark.parametrize(
    "change", [{"max_parts": 9}, {"evidence": {}}, {"on_error": "allow"}], ids=lambda one: next(iter(one))
)
def test_a_lock_that_was_edited_is_refused_and_one_written_otherwise_is_not(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(make_lock(), path)
    _break_json(path)  # the same values on one line: nothing was edited
    assert read_lock(path).revision == make_lock().revision
    _break_json(path, **change)
    with pytest.raises(LockError, match=r"weapons\.lock\.json: was edited after it was built"):
        read_lock(path)


def test_arrays_that_are_not_safetensors_are_refused_even_with_the_right_sum(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(make_lock(), path)
    pickled = b"\x80\x04N."
    (tmp_path / "weapons.lock.safetensors").write_bytes(pickled)
    _break_json(path, arrays_sha256=hashlib.sha256(pickled).hexdigest())
    with pytest.raises(LockError, match="not a safetensors file"):
        read_lock(path)


def test_another_ending_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(LockError, match=r"ending in \.lock\.json"):
        write_lock(make_lock(), tmp_path / "weapons.json")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "weapons")
    path.mkdir()  # a folder stands where the JSON should go
    with pytest.raises(LockError, match="cannot be written"):
        write_lock(make_lock(), path)
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_not_a_number_never_reaches_a_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_lock(make_lock(evidence={"ap": float("nan")}), lock_path(tmp_path, "weapons"))
