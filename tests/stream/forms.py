"""The two forms of a test of a fault: a short one for every run, and a full one for `make soak`."""

from __future__ import annotations

from typing import Any

import pytest


def forms(name: str, *, short: Any, full: Any) -> pytest.MarkDecorator:
    """The test with `name` as `short` says, and with the mark soak as `full` says."""
    return pytest.mark.parametrize(
        name, [pytest.param(short, id="short"), pytest.param(full, id="full", marks=pytest.mark.soak)]
    )
