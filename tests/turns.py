"""Whose turn it is: files that take a minute or so are begun first, some by each worker.

xdist's `worksteal` gives each worker a run of tests of equal length, and who is done takes from the end of another's. A long test there is begun last,
and the other workers stand idle meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import pytest

# Nearly in the order of the time they take.
LONG = (
    "examples/test_plugins.py",
    "integration/test_ray.py",
    "examples/test_benchmarks.py",
    "integration/stream/test_broker_faults.py",
    "examples/test_whole_demo.py",
    "examples/test_gallery.py",
    "integration/test_spread_training.py",
    "integration/stream/test_faults.py",
    "examples/test_plugin_tutorial.py",
    "integration/test_training_survives.py",  # to the worker that has test_spread_training: they fork one process
    "examples/test_shipped_audits.py",
)


def dealt(items: Sequence[pytest.Item], workers: int, root: Path) -> list[pytest.Item]:
    """The same tests, so that each worker's run of them begins with whole files of LONG."""
    places = {root / name: at for at, name in enumerate(LONG)}
    long = sorted((one for one in items if one.path in places), key=lambda one: places[one.path])
    files = [list(of) for _, of in groupby(long, key=lambda one: one.path)]
    heads = [[one for file in files[worker::workers] for one in file] for worker in range(workers)]
    others = iter([one for one in items if one.path not in places])
    found: list[pytest.Item] = []
    for worker, head in enumerate(heads):
        size = (len(items) - len(found)) // (workers - worker)
        found += [*head, *(one for _, one in zip(range(size - len(head)), others, strict=False))]
    return [*found, *others]
