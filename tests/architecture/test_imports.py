"""What importing brings in, and what the package exports."""

from __future__ import annotations

import subprocess
import sys

import pytest

import moderation

HEAVY = ("torch", "transformers", "redis", "hiredis", "kafka", "lz4", "snappy", "zstandard", "sklearn", "scipy", "PIL")


def loaded_after(code: str) -> set[str]:
    """The top-level modules in a fresh interpreter after running `code`."""
    script = f"{code}\nimport sys; print('\\n'.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


HELP = """
import contextlib, io, sys
from moderation.cli.main import main
sys.argv = ["moderation", "--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""


@pytest.mark.parametrize("code", ["import moderation", HELP], ids=["import", "help"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert loaded_after(code).isdisjoint(HEAVY)


def test_exports_are_sorted_complete_and_resolve() -> None:
    assert moderation.__all__ == sorted(moderation.__all__)
    assert set(moderation._HOMES) == set(moderation.__all__) - {"__version__"}
    for name in moderation.__all__:
        assert getattr(moderation, name) is not None
    assert dir(moderation) == moderation.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = moderation.Nonsense
