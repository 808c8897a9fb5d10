"""The benchmark of the ladder at its full 50 splits: choosing a level seldom loses to what needs no targets."""

from __future__ import annotations

import json
import runpy

import pytest
from scipy.stats import binomtest

from tests.conftest import ROOT

SPLITS = 50
SELDOM = 0.25


@pytest.mark.soak
def test_a_chosen_level_seldom_loses_to_the_words_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ladder.py", "--splits", str(SPLITS), "--exemplars", "--json"])
    runpy.run_path(str(ROOT / "benchmarks" / "ladder.py"), run_name="__main__")
    for name, found in json.loads(capsys.readouterr().out)["policies"].items():
        for chosen in (found, found["with_exemplars"]):
            print(f"{name}: lost in {chosen['lost']} of {SPLITS} splits, levels {chosen['levels']}")
            assert binomtest(chosen["lost"], SPLITS, SELDOM, alternative="greater").pvalue > 0.001
        print(f"{name}: explained by concept {found['explained']}")
