"""WiSE-FT: what is exported lies between the start and what was learned, where the run says or where it validates best."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from moderation.encoder.checkpoint import describe, load, model_of
from moderation.errors import TrainingError
from moderation.training.dual import Dual
from moderation.training.loop import train
from moderation.training.mixing import SHARES, Before
from tests.conftest import ROOT
from tests.unit.training.runs import prepare, run, write

VALID = '[valid]\npairs = ["captions.jsonl"]\nevery = 100\n'
BUNDLED = ROOT / "moderation" / "bundled" / "encoder"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixing")
    prepare(root)
    return root


def metrics(folder: Path, name: str) -> Any:
    return json.loads((folder / name / "encoder" / "card.json").read_text(encoding="utf-8"))["metrics"]


def dual(folder: Path) -> Dual:
    found = describe(str(folder / "vit"))
    return Dual(model_of(found), found.family, found.card, largest_scale=100.0, bias=0.0)


def test_where_no_adapters_are_none_are_looked_for_in_peft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it fails then; it takes half a second
    one = dual(folder)
    assert one.merged().state_dict().keys() == one.model.state_dict().keys()


@pytest.mark.parametrize(
    ("measured", "chosen"),
    [
        ({1.0: 0.3, 0.75: 0.2, 0.5: 0.1, 0.25: 0.1, 0.0: 0.1}, 1.0),  # training did harm: the start comes out
        ({1.0: 0.3, 0.75: 0.3, 0.5: 0.3, 0.25: 0.3, 0.0: 0.3}, 1.0),  # nor is anything moved for nothing
        ({1.0: 0.1, 0.75: 0.2, 0.5: 0.4, 0.25: 0.4, 0.0: 0.3}, 0.5),
        ({1.0: 0.1, 0.75: 0.2, 0.5: 0.3, 0.25: 0.4, 0.0: 0.5}, 0.0),
    ],
)
def test_the_best_share_is_kept_and_of_equals_most_of_the_start(
    measured: dict[float, float], chosen: float, folder: Path
) -> None:
    one = dual(folder)
    asked = iter(SHARES)
    choice = Before(one).best(one, lambda _mixed: measured[next(asked)])
    assert choice.keep == chosen
    assert choice.tried == measured


def test_a_run_that_learns_keeps_the_share_that_validates_best(folder: Path) -> None:
    run(folder, "best", '[model]\nstart = "vit"\n' + VALID, top='keep_start = "best"', steps=20, batch=12)
    told = metrics(folder, "best")
    tried = {float(share): recall for share, recall in told["valid_recall_by_keep_start"].items()}
    assert tuple(tried) == SHARES
    assert tried[told["keep_start"]] == max(tried.values()) > tried[1.0]
    assert load(str(folder / "best" / "encoder")).card.metrics == told


def test_a_run_that_ruins_the_start_gives_it_back_as_far_as_it_validates(folder: Path) -> None:
    run(folder, "good", '[model]\nstart = "vit"\n', steps=20, batch=12)
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong = [json.dumps({"path": row["path"], "caption": "a dog on the water"}) for row in rows]
    (folder / "wrong.jsonl").write_text("\n".join(wrong), encoding="utf-8")
    sections = f'[model]\nstart = "good/encoder"\n{VALID}'
    path = write(folder, "ruined", sections, top='keep_start = "best"', steps=20)
    path.write_text(path.read_text(encoding="utf-8").replace("captions.jsonl", "wrong.jsonl", 1), encoding="utf-8")
    train(path)
    told = metrics(folder, "ruined")
    tried = told["valid_recall_by_keep_start"]
    assert tried["0.0"] < tried["1.0"] <= tried[str(told["keep_start"])]
    assert told["keep_start"] > 0


def test_an_encoder_with_batch_norms_is_mixed_too(folder: Path) -> None:
    sections = f"[model]\nstart = {json.dumps(str(BUNDLED))}\nlora = {{rank = 2}}\n{VALID}"
    run(folder, "norms", sections, top="keep_start = 0.5", steps=1, batch=4)
    start, now = (load_file(at / "model.safetensors") for at in (BUNDLED, folder / "norms" / "encoder"))
    counted = [name for name in start if name.endswith("num_batches_tracked")]
    assert counted
    assert all(now[name] >= start[name] for name in counted)


def test_a_choice_needs_something_to_choose_by(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"keep_start 'best' wants a valid section to choose by"):
        run(folder, "blind", '[model]\nstart = "vit"', top='keep_start = "best"')
    with pytest.raises(TrainingError, match=r"keep_start: .*found 'bset'; expected a share from 0 to 1, or 'best'"):
        run(folder, "typo", '[model]\nstart = "vit"', top='keep_start = "bset"')
