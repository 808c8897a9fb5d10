"""Kept vectors: a round trip of every field, and what is refused or counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moderation.errors import DataError
from moderation.history.vectors import StoredRow, read_vectors, write_vectors

ROWS = [
    StoredRow("a" * 64, "image", True, "gun", {"region": "north"}),
    StoredRow("b" * 64, "text", False, "toy", {}),
    StoredRow("c" * 64, "image", None, "kite", {"region": "south", "tone": "x|y"}),
]


def unit(count: int, width: int = 8) -> np.ndarray:
    found = np.random.default_rng(0).normal(size=(count, width))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def fields(row: StoredRow) -> tuple[object, ...]:
    return row.id, row.modality, row.target, row.cluster, row.attributes


def test_everything_comes_back(tmp_path: Path) -> None:
    vectors = unit(3)
    write_vectors(tmp_path, "one", ROWS, vectors, identity="f" * 32, numeric="cpu")
    (batch,) = read_vectors(tmp_path, identity="f" * 32, width=8)
    assert [fields(row) for row in batch.rows] == [fields(row) for row in ROWS]
    assert batch.vectors.tobytes() == vectors.tobytes()
    assert batch.skipped == {}


def test_what_is_no_vector_is_counted_and_left_out(tmp_path: Path) -> None:
    vectors = unit(3)
    vectors[0, 0] = np.nan
    vectors[1] *= 2
    write_vectors(tmp_path, "one", ROWS, vectors, identity="f", numeric="cpu")
    (batch,) = read_vectors(tmp_path, identity="f", width=8)
    assert [row.id for row in batch.rows] == ["c" * 64]
    assert batch.skipped == {"not finite": 1, "not of unit length": 1}


@pytest.mark.parametrize(("identity", "width", "says"), [("g", 8, "of encoder f"), ("f", 16, "of width 16")])
def test_another_encoder_or_width_is_refused(tmp_path: Path, identity: str, width: int, says: str) -> None:
    write_vectors(tmp_path, "one", ROWS, unit(3), identity="f", numeric="cpu")
    with pytest.raises(DataError, match=says):
        list(read_vectors(tmp_path, identity=identity, width=width))


def test_an_empty_folder_and_a_file_that_is_none_of_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.parquet file"):
        list(read_vectors(tmp_path, identity="f", width=8))
    (tmp_path / "x.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"x.parquet.*no Parquet file"):
        list(read_vectors(tmp_path, identity="f", width=8))
