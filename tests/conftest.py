"""What all tests share: where the shared data is, what cannot run here, and a last line that counts it."""

from __future__ import annotations

import gc
import importlib.util
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.services import available
from tests.services.keeper import Addresses
from tests.services.lease import lease
from tests.turns import dealt

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MODERATION_DATA") or ROOT.parent / "shared" / "data")

settings.register_profile("house", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("soak", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Processes of torch that share two cores spin while they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Python's collector would go through half a million objects of torch and its like again and again: one in twenty seconds of all tests.
gc.set_threshold(50_000, *gc.get_threshold()[1:])

_not_run: Counter[str] = Counter()


@pytest.fixture(scope="session")
def data() -> Path:
    """The shared data folder; only tests marked `needs_data` may ask for it."""
    return DATA


@pytest.fixture(scope="session")
def services() -> Iterator[Addresses]:
    """A Kafka broker and a Redis server, shared by all workers of this run; for tests marked `needs_kafka` or `needs_redis`."""
    with lease(os.environ.get("PYTEST_XDIST_TESTRUNUID") or str(os.getpid())) as addresses:
        yield addresses


@pytest.hookimpl(trylast=True)  # once it is known which tests there are
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = dealt(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), ROOT / "tests")
    lacking = {"needs_data": "the shared data (MODERATION_DATA)"} if not (DATA / "SOURCES.md").exists() else {}
    lacking |= available.lacking()
    if not _has_gpu():
        lacking["needs_gpu"] = "a CUDA GPU"
    if importlib.util.find_spec("open_clip") is None:
        lacking["needs_open_clip"] = "open_clip, which make bench installs"
    if importlib.util.find_spec("threatexchange") is None:
        lacking["needs_pytx"] = "threatexchange, which make bench installs"
    if "OSPREY_PYTHON" not in os.environ:
        lacking["needs_osprey"] = "OSPREY_PYTHON, the Python of an Osprey"
    if not (shutil.which("chromium") or shutil.which("google-chrome")):
        lacking["needs_browser"] = "chromium"
    if shutil.which("systemd-analyze") is None:
        lacking["needs_systemd"] = "systemd-analyze"
    for item in items:
        for marker, what in lacking.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))


def pytest_collection_finish() -> None:
    gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        _not_run[report.longrepr[2].removeprefix("Skipped: ")] += 1


def pytest_unconfigure(config: pytest.Config) -> None:
    gc.unfreeze()  # or libraries complain at the end of what was never let go of
    if not hasattr(config, "workerinput"):
        what = ", ".join(f"{count} ({reason})" for reason, count in sorted(_not_run.items()))
        print(f"did not run: {what or 'nothing, every test ran'}")


def _has_gpu() -> bool:
    if not Path("/dev/nvidiactl").exists():
        return False
    import torch

    return torch.cuda.is_available()
