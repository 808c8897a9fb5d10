from __future__ import annotations

from pathlib import Path

from moderation.meant import did_you_mean, nearest, neighbour


def test_the_nearest_is_named_and_where_nothing_is_near_all_are() -> None:
    known = ("allow", "review", "remove")
    assert (nearest("reveiw", known), nearest("xyz", known)) == ("review", None)
    assert did_you_mean("reveiw", known) == "; did you mean 'review'?"
    assert did_you_mean("xyz", known) == "; expected one of allow, review, remove"
    assert did_you_mean("xyz", known, listed=False) == did_you_mean("xyz", ()) == ""


def test_a_neighbour_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "vehicles.yaml").touch()
    assert neighbour(tmp_path / "vehicle.yaml") == f"; did you mean '{tmp_path}/vehicles.yaml'?"
    (tmp_path / "vehicles.lock.json").touch()
    assert neighbour(tmp_path / "vehicle.lock.json", ".lock.json") == f"; did you mean '{tmp_path}/vehicles.lock.json'?"
    assert neighbour(tmp_path / "cat.lock.json", ".lock.json") == ""  # only the ending is alike
    assert neighbour(tmp_path / "vehicles.yaml") == ""  # it is there, and cannot be read
    assert neighbour(tmp_path / "a\0b" / "vehicles.yaml") == ""
    assert neighbour(tmp_path / "nothing alike") == neighbour(tmp_path / "gone" / "vehicles.yaml") == ""
