"""Real distributions in a temporary folder: what importlib.metadata finds is what an installation would give it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    """install("dist-name", {"plugin-id": "module"}, module="source…") puts a distribution on sys.path."""
    with installing(tmp_path) as install:
        yield install


@pytest.fixture(scope="module")
def install_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """The same, for all tests of a module."""
    with installing(tmp_path_factory.mktemp("installed")) as install:
        yield install


@contextmanager
def installing(tmp_path: Path) -> Iterator[Install]:
    known = set(sys.modules)

    def put(distribution: str, entries: dict[str, str], *, version: str = "1.0", **modules: str) -> Path:
        folder = tmp_path / distribution
        metadata = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (metadata / "entry_points.txt").write_text(f"[moderation]\n{lines}\n")
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        patch.syspath_prepend(str(folder))
        return folder

    with pytest.MonkeyPatch.context() as patch:
        yield put
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
