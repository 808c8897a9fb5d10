"""Retrieval while a run learns: told where it is due, and no step depends on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from moderation.encoder.checkpoint import load
from moderation.errors import TrainingError
from moderation.training.evaluation.retrieval import retrieval
from tests.unit.training.runs import prepare, run

MODEL = '[model]\nstart = "vit"\npatch_dropout = 0.25\n'
VALID = '[valid]\npairs = ["captions.jsonl"]\nevery = 2\nmost = 20\n'
NAMES = {"valid/captions_r1", "valid/captions_r5", "valid/pictures_r1", "valid/pictures_r5"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("valid")
    prepare(root)
    return root


def test_retrieval_is_told_every_so_often_and_changes_no_step(folder: Path) -> None:
    plain, measured = run(folder, "plain", MODEL, steps=5), run(folder, "measured", MODEL + VALID, steps=5)
    assert [one.loss for one in plain] == [one.loss for one in measured]
    assert [one.step for one in measured if one.told.keys() >= NAMES] == [2, 4, 5]
    assert all(0 <= one.told[name] <= 1 for one in measured for name in NAMES & one.told.keys())
    rows = [json.loads(line) for line in (folder / "measured" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row.keys() >= NAMES] == [2, 4, 5]
    curves = (folder / "measured" / "curves.svg").read_text()
    assert all(name in curves for name in NAMES if len({row[name] for row in rows if name in row}) > 1)


def test_a_run_goes_on_with_another_set_to_measure_on(folder: Path) -> None:
    run(folder, "longer", MODEL, steps=4, save_every=2)
    again = run(folder, "longer", MODEL + VALID.replace("most = 20", "most = 4"), steps=4, resume=True)
    assert again == []


def test_pictures_that_cannot_be_read_are_passed_over(folder: Path) -> None:
    rows = (folder / "captions.jsonl").read_text().splitlines()[:3]
    (folder / "pictures" / "torn.png").write_bytes(b"\x89PNG torn")
    torn = '{"path": "pictures/torn.png", "caption": "torn"}'
    (folder / "some.jsonl").write_text("\n".join([*rows, torn]))
    # Three pictures with six captions: among five places is always one of the two.
    (told,) = run(folder, "some", MODEL + VALID.replace("captions.jsonl", "some.jsonl"), steps=1)
    assert told.told["valid/captions_r5"] == 1.0
    (folder / "torn.jsonl").write_text(f"{torn}\n{torn}")
    with pytest.raises(TrainingError, match=r"valid.pairs: 0 of 2 pairs can be read; expected 2 or more"):
        run(folder, "torn", MODEL + VALID.replace("captions.jsonl", "torn.jsonl"), steps=1)


def test_a_set_that_is_not_there_stops_the_run_before_it_starts(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"gone\.jsonl: No such file"):
        run(folder, "gone", MODEL + VALID.replace("captions.jsonl", "gone.jsonl"))


def test_what_is_measured_is_what_is_exported(folder: Path) -> None:
    model = MODEL.replace("patch_dropout = 0.25\n", "")
    seen = run(folder, "averaged", model + VALID.replace("most = 20", "most = 48"), steps=12)
    encoder = load(str(folder / "averaged" / "encoder"), device="cpu")
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
    images = encoder.encode_images([(folder / row["path"]).read_bytes() for row in rows]).vectors
    texts = encoder.encode_text([caption for row in rows for caption in row["captions"]]).vectors
    owner = np.repeat(np.arange(len(rows)), [len(row["captions"]) for row in rows])
    found = retrieval(images, texts, owner, ks=(1, 5))
    told = [seen[-1].told[f"valid/{name}"] for name in ("captions_r1", "captions_r5", "pictures_r1", "pictures_r5")]
    both = [way.at[k].value for way in (found.image_to_text, found.text_to_image) for k in (1, 5)]
    assert told == pytest.approx(both, abs=0.03)  # the last bit of a float16 may put two of equals otherwise
