from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from moderation.whole import written_whole


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_stood_there_stays_until_all_is_written(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")

    def half() -> None:
        with written_whole(path) as beside:
            beside.write_text("half")
            assert path.read_text() == "before"
            raise error

    with pytest.raises(error):
        half()
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "before"
    with written_whole(path) as beside:
        beside.write_text("after")
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "after"


def test_two_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with written_whole(path) as one, written_whole(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


@pytest.mark.parametrize(("private", "mode"), [(False, 0o640), (True, 0o600)])
def test_others_may_read_it_as_the_user_has_it_unless_it_is_private(
    tmp_path: Path, *, private: bool, mode: int
) -> None:
    before = os.umask(0o027)
    try:
        with written_whole(tmp_path / "a.json", private=private) as beside:
            beside.write_text("x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode


def test_where_nothing_can_be_written_it_says_what_was_tried_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    place = tmp_path / "file" / "a.json"
    with pytest.raises(NotADirectoryError) as error, written_whole(place) as beside:
        beside.write_text("x")
    assert error.value.__context__ is None
