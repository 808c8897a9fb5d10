"""Hugging Face datasets on disk: columns found by type or name, pictures left undecoded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest

from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.saved_dataset import SavedDataset, is_saved_dataset
from tests.pair_files import picture

datasets.disable_progress_bars()


def saved(folder: Path, columns: dict[str, list], *, image: str | None = "image", **options: Any) -> SavedDataset:
    rows = datasets.Dataset.from_dict(columns)
    if image:
        rows = rows.cast_column(image, datasets.Image())
    rows.save_to_disk(folder)
    return SavedDataset(folder, limits=ImageLimits(), **options)


def stored(number: int) -> dict[str, Any]:
    return {"bytes": picture(number), "path": None}


def test_an_image_column_is_read_without_decoding(tmp_path: Path) -> None:
    columns = {"photo": [stored(0), {"bytes": b"no picture", "path": None}], "caption": ["a", "b"], "width": [1, 2]}
    found = saved(tmp_path / "set", columns, image="photo")
    assert is_saved_dataset(tmp_path / "set")
    assert [found.read(row).image for row in range(2)] == [picture(0), b"no picture"]
    assert (found.read(1).key, found.read(1).captions) == ("set/1", ("b",))
    with pytest.raises(IndexError):
        found.read(-1)


def test_lists_of_captions_and_plain_bytes(tmp_path: Path) -> None:
    columns = {"image": [picture(0)], "captions": [["a", "b"]]}
    assert saved(tmp_path, columns, image=None).read(0).captions == ("a", "b")


def test_paths_are_taken_from_the_folder(tmp_path: Path) -> None:
    found = saved(tmp_path, {"path": ["0.jpg", "1.jpg"], "text": ["a", "b"]}, image=None)
    (tmp_path / "0.jpg").write_bytes(picture(0))
    assert found.read(0).image == picture(0)
    with pytest.raises(ItemError, match="unreadable"):
        found.read(1)


def test_the_only_text_is_the_caption_unless_one_is_named(tmp_path: Path) -> None:
    assert saved(tmp_path / "a", {"image": [stored(0)], "alt": ["a"]}).read(0).captions == ("a",)
    columns = {"image": [stored(0)], "caption": ["a"], "alt": ["b"]}
    assert saved(tmp_path / "b", columns, caption_field="alt").read(0).captions == ("b",)


def test_a_split_is_read_by_name(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"image": [picture(0)], "text": ["a"]})
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path)
    assert is_saved_dataset(tmp_path)
    assert len(SavedDataset(tmp_path, limits=ImageLimits())) == 1
    assert len(SavedDataset(tmp_path, limits=ImageLimits(), split="test")) == 1
    with pytest.raises(TrainingError, match="no split 'other'; found train, test"):
        SavedDataset(tmp_path, limits=ImageLimits(), split="other")


def test_cells_without_picture_or_caption_are_errors_of_their_rows(tmp_path: Path) -> None:
    found = saved(tmp_path, {"image": [None, stored(1), stored(2)], "caption": ["a", None, " "]})
    reasons = []
    for row in range(3):
        with pytest.raises(ItemError) as caught:
            found.read(row)
        reasons.append(caught.value.reason)
    assert reasons == ["no_picture", "no_caption", "empty_caption"]


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"no column for captions and pictures; found .'a': 'string', 'b': 'string'"
    ):
        saved(tmp_path, {"a": ["x"], "b": ["y"]}, image=None)


def test_a_dataset_without_rows_is_refused(tmp_path: Path) -> None:
    features = datasets.Features(image=datasets.Image(), text=datasets.Value("string"))
    datasets.Dataset.from_dict({"image": [], "text": []}, features=features).save_to_disk(tmp_path)
    with pytest.raises(TrainingError, match="cannot be read as a saved dataset with rows"):
        SavedDataset(tmp_path, limits=ImageLimits())


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(TrainingError, match="cannot be read as a saved dataset with rows"):
        SavedDataset(tmp_path, limits=ImageLimits())


def test_many_threads_read_the_same_rows(tmp_path: Path) -> None:
    found = saved(tmp_path, {"image": [stored(row) for row in range(30)], "caption": [str(row) for row in range(30)]})
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(found.read, [row % 30 for row in range(300)]))
    assert all(pair.image == picture(i % 30) and pair.captions == (str(i % 30),) for i, pair in enumerate(pairs))
