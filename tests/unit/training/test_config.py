"""The TOML file of a run: what it refuses, and what its numbers mean step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from moderation.errors import TrainingError
from moderation.training.config import read_config, read_drawing_run

GOOD = """
task = "drawings"
out = "run"
steps = 100
batch = 4
[data]
folder = "prepared"
[model]
tower = "tower"
[optimiser]
warm_up = 10
cool_down = 20
[[stages]]
step = 0
size = 32
strength = 0.8
ramp = 50
[[stages]]
step = 60
size = 48
strength = 0.4
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_taken_from_where_the_file_stands(tmp_path: Path) -> None:
    config = read_drawing_run(written(tmp_path, GOOD))
    assert config.out == tmp_path / "run"
    assert config.data.folder == tmp_path / "prepared"


def test_stages_say_size_and_strength(tmp_path: Path) -> None:
    config = read_drawing_run(written(tmp_path, GOOD))
    assert config.stage(0) == (32, 0.0)
    assert config.stage(25) == (32, pytest.approx(0.4))
    assert config.stage(59) == (32, pytest.approx(0.8))
    assert config.stage(60) == (48, pytest.approx(0.4))


def test_the_rate_warms_up_stays_and_cools_down(tmp_path: Path) -> None:
    config = read_drawing_run(written(tmp_path, GOOD))
    assert [config.rate_share(step) for step in (0, 9, 50, 80, 90, 99)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0.05])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("batch = 4", "batch = 4\nbach = 5"), "bach"),
        (("batch = 4", "batch = 1"), "batch"),
        (("strength = 0.8", "strength = 1.8"), "stages.0.strength"),
        (("step = 0\n", "step = 5\n"), "expected 0 first"),
        (("[model]", "[model"), "not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(TrainingError, match=named) as raised:
        read_config(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no such file"):
        read_config(tmp_path / "none.toml")


def test_a_key_that_is_missing_is_told_as_in_settings(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"run\.toml: steps: is required, and not there$"):
        read_config(written(tmp_path, 'out = "run"\nbatch = 4\n[data]\npairs = ["a.jsonl"]\n[model]\nstart = "clip"\n'))


def test_a_captioned_set_to_measure_on_is_no_fact_of_the_run(tmp_path: Path) -> None:
    text = 'out = "run"\nsteps = 3\nbatch = 4\n[data]\npairs = ["a.jsonl"]\n[model]\nstart = "clip"\n'
    plain, measured = (read_config(written(tmp_path, text + more)) for more in ("", '[valid]\npairs = ["b.jsonl"]\n'))
    assert measured.facts() == plain.facts()
    assert measured.valid is not None  # type: ignore[attr-defined]
    assert measured.valid.pairs == (tmp_path / "b.jsonl",)  # type: ignore[attr-defined]
    with pytest.raises(TrainingError, match=r"valid\.evry: no such key; did you mean 'every'\?"):
        read_config(written(tmp_path, f'{text}[valid]\npairs = ["b.jsonl"]\nevry = 3\n'))
