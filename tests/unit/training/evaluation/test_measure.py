"""What an encoder without one of its towers can be measured for."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import TrainingError
from moderation.training.evaluation.measure import evaluate
from moderation.training.evaluation.picture_set import open_set
from moderation.training.evaluation.report import rows
from moderation.training.evaluation.work import Request
from tests.fakes import FakeEncoder


def silent(_what: str, _total: int) -> Any:
    return nullcontext(lambda _count: None)


def test_without_a_text_tower_only_the_linear_probe_is_left(tmp_path: Path) -> None:
    for label, sign in (("in", ""), ("out", "-")):
        (tmp_path / label).mkdir()
        for number in range(6):
            (tmp_path / label / f"{number}.png").write_text(f"{sign}0.9{number}")
    (tmp_path / "out" / "torn.png").write_text("no number")
    report = evaluate(FakeEncoder(modalities=("image",)), Request(open_set(tmp_path)), progress=silent)
    assert {row.measure for row in rows(report)} == {"linear probe accuracy", "linear probe mean per class"}
    assert report.measures.linear_probe is not None
    assert report.measures.linear_probe.accuracy.value == 1.0
    assert report.not_measured["zero_shot"] == report.not_measured["scenes"] == "the encoder has no text tower"
    assert (report.set.pictures, report.set.left_out) == (13, 1)


def test_without_an_image_tower_there_is_nothing_to_measure() -> None:
    with pytest.raises(TrainingError, match="encoder 'fake' has no image tower"):
        evaluate(FakeEncoder(modalities=("text",)), Request(), progress=silent)


def test_few_pictures_are_no_linear_probe(tmp_path: Path) -> None:
    for label in ("in", "out"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.png").write_text("0.5")
    with pytest.raises(TrainingError, match=r"class 'in' has 1 independent pictures; expected at least 5"):
        evaluate(FakeEncoder(modalities=("image",)), Request(open_set(tmp_path)), progress=silent)
