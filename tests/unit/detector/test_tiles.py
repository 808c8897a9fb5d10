from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLACES = """
import numpy as np
from moderation.detector.tiles import TILE_ROWS, products, as_strips
dice = np.random.default_rng(0)
for width in (3, 24, 64, 65, 256, 384, 512, 768):
    strips, shift = as_strips(dice.standard_normal((11, width))), np.zeros(16, np.float32)
    wanted, crowd = (dice.standard_normal((rows, width)).astype(np.float16) for rows in (1, TILE_ROWS))
    seen = set()
    for place in range(TILE_ROWS):
        crowd[place] = wanted
        ((_, columns),) = products(crowd, strips, shift)
        seen.add(columns[place].tobytes())
    assert len(seen) == 1, (width, len(seen))
"""
FLAGS = {"Prescott": "pni", "Nehalem": "sse4_2", "Sandybridge": "avx", "Haswell": "avx2", "SkylakeX": "avx512f"}


def runs(flag: str) -> bool:
    told = Path("/proc/cpuinfo")
    return told.exists() and f" {flag} " in told.read_text()


@pytest.mark.parametrize("core", [core for core, flag in FLAGS.items() if runs(flag)] or [""])
def test_a_row_gives_the_same_in_each_place_of_a_tile_on_every_processor(core: str) -> None:
    """Those that this one can be: BLAS has products of its own for each, which take rows together in their own numbers."""
    environment = {**os.environ, **({"OPENBLAS_CORETYPE": core} if core else {})}
    assert subprocess.run([sys.executable, "-c", PLACES], env=environment, check=False).returncode == 0
