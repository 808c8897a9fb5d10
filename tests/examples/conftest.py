"""The gallery's script, as a module."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="session")
def gallery() -> ModuleType:
    """examples/gallery.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        return importlib.import_module("gallery")
