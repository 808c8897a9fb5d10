"""A Hugging Face dataset on disk as pairs: what `Dataset.save_to_disk` wrote, read through the memory map, pictures undecoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.broken import Broken
from moderation.training.manifest import IMAGE_FIELDS, read_picture
from moderation.training.pairs import CAPTION_FIELDS, Pair, captions_of, usable_captions

_SPLITS_FILE, _STATE_FILE = "dataset_dict.json", "state.json"


def is_saved_dataset(folder: Path) -> bool:
    """Whether `folder` is one that `save_to_disk` wrote."""
    return (folder / _STATE_FILE).is_file() or (folder / _SPLITS_FILE).is_file()


class SavedDataset:
    """The rows of a dataset on disk; `split` is read where it has several.

    The picture's column is the one of type Image, else one named in IMAGE_FIELDS (bytes, or a path from the folder); the captions' one
    is named in CAPTION_FIELDS, else the only other column of text. `image_field` and `caption_field` name them instead.
    """

    def __init__(
        self,
        folder: Path,
        *,
        limits: ImageLimits,
        split: str = "train",
        image_field: str | None = None,
        caption_field: str | None = None,
    ) -> None:
        found = _load(folder, split)
        self._folder, self._limits = folder, limits
        self._image = image_field or _image_column(found) or "pictures"
        self._caption = caption_field or _caption_column(found, self._image) or "captions"
        if lacking := {self._image, self._caption} - set(found.features):
            columns = {name: getattr(kind, "dtype", type(kind).__name__) for name, kind in found.features.items()}
            raise TrainingError(
                f"{folder}: no column for {' and '.join(sorted(lacking))}; found {columns}; "
                f"expected an Image column, or one named {' or '.join(IMAGE_FIELDS)}, and {' or '.join(CAPTION_FIELDS)}"
            )
        self._rows = _undecoded(found.select_columns([self._image, self._caption]), self._image)
        self.broken = Broken()

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, row: int) -> str:
        """The folder's name and the row."""
        return f"{self._folder.name}/{row}"

    def read(self, row: int) -> Pair:
        """The pair at `row`; raises ItemError where it has no picture or no usable caption."""
        if not 0 <= row < len(self):  # the library counts negative rows from the end
            raise IndexError(f"row {row}; expected 0 to {len(self) - 1}")
        try:
            record = self._rows[row]
        except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these two
            raise ItemError("unreadable", f"row {row} of {self._folder}: {error}") from None
        captions = usable_captions(captions_of(record[self._caption]))
        return Pair(self.key(row), self._picture(record[self._image]), captions)

    def _picture(self, value: Any) -> bytes:
        content, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, None)
        if isinstance(content, str):
            content, path = None, content
        if content is None and path is not None:
            return read_picture(self._folder / path, self._limits)
        if not isinstance(content, bytes):
            raise ItemError("no_picture", f"found {type(content).__name__}; expected bytes or a path")
        return content


def _load(folder: Path, split: str) -> Any:
    try:
        import datasets  # type: ignore[import-untyped]
    except ImportError:
        raise TrainingError(
            f"{folder}: reading a saved dataset needs the library datasets; pip install 'moderation[train]'"
        ) from None
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # noqa: BLE001  pyarrow, JSON and the library itself raise a dozen types on damaged folders
        raise TrainingError(f"{folder}: cannot be read as a saved dataset with rows: {error}") from None
    if not isinstance(found, datasets.DatasetDict):
        return found
    if split not in found:
        raise TrainingError(f"{folder}: no split {split!r}; found {', '.join(map(str, found))}")
    return found[split]


def _undecoded(rows: Any, column: str) -> Any:
    kind, rows = rows.features[column], rows.with_format(None)  # a format saved with it would make tensors of the cells
    return rows.cast_column(column, type(kind)(decode=False)) if _is_image(kind) else rows


def _image_column(rows: Any) -> str | None:
    typed = [name for name, kind in rows.features.items() if _is_image(kind)]
    return next((name for name in (*typed, *IMAGE_FIELDS) if name in rows.features), None)


def _caption_column(rows: Any, image: str) -> str | None:
    texts = [name for name, kind in rows.features.items() if getattr(kind, "dtype", None) == "string" and name != image]
    named = next((name for name in CAPTION_FIELDS if name in rows.features), None)
    return named or (texts[0] if len(texts) == 1 else None)


def _is_image(kind: Any) -> bool:
    return type(kind).__name__ == "Image"
