"""Long tests are begun first, and each test has its turn once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.turns import LONG, dealt

HERE = Path("/tests")


def made(long: int, others: int) -> list[Any]:
    paths = [HERE / name for name in LONG[:long] for _ in range(3)] + [HERE / f"test_{at}.py" for at in range(others)]
    return [SimpleNamespace(path=path) for path in paths[1::2] + paths[::2]]


def test_every_long_file_is_there() -> None:
    assert all((ROOT / "tests" / name).exists() for name in LONG)


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_the_run_of_each_worker_begins_with_its_share_of_whole_long_files(workers: int) -> None:
    items = made(len(LONG), 500)
    found = dealt(items, workers, HERE)
    assert sorted(map(id, found)) == sorted(map(id, items))
    start = 0
    for worker in range(workers):
        names = [HERE / name for name in LONG[worker::workers] for _ in range(3)]
        assert [one.path for one in found[start : start + len(names)]] == names
        start += (len(items) - start) // (workers - worker)  # as xdist gives them out


@pytest.mark.parametrize(("long", "others"), [(0, 0), (0, 5), (2, 0), (1, 1), (4, 2)])
def test_of_few_tests_none_is_lost(long: int, others: int) -> None:
    items = made(long, others)
    assert sorted(map(id, dealt(items, 3, HERE))) == sorted(map(id, items))
