"""A JSONL or CSV file that lists pictures and their captions: paths are taken from where the file stands."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from moderation.errors import ItemError, TrainingError
from moderation.settings import ImageLimits
from moderation.training.broken import Broken
from moderation.training.pairs import CAPTION_FIELDS, Pair, captions_of, parse_json, usable_captions

MANIFESTS = frozenset({".jsonl", ".ndjson", ".csv", ".tsv"})
IMAGE_FIELDS = ("image", "path", "image_path", "filepath", "file_name")

Record = Mapping[str, object] | ItemError


class Manifest:
    """The pairs a manifest lists; pictures are opened when they are read, never before.

    `image_field` and `caption_field` name the fields; without them the first known name that a record has is taken.
    """

    def __init__(
        self, path: Path, *, limits: ImageLimits, image_field: str | None = None, caption_field: str | None = None
    ) -> None:
        self._folder, self._limits = path.parent, limits
        self._rows: list[tuple[str, tuple[str, ...]]] = []
        self.broken = Broken()
        pictures, captions = (image_field,) if image_field else IMAGE_FIELDS, caption_field
        try:
            for line, record in records(path):
                try:
                    self._rows.append(_row(record, pictures, captions))
                except ItemError as error:
                    self.broken.add(error.reason, f"{path.name}:{line}")
        except OSError as error:
            raise TrainingError(f"{path}: {error.strerror}; expected a JSONL or CSV manifest") from None
        if not self._rows:
            names = f"{' or '.join(pictures)} and {caption_field or ' or '.join(CAPTION_FIELDS)}"
            raise TrainingError(f"{path}: no pair in it; expected records with {names}; left out: {self.broken}")

    def __len__(self) -> int:
        return len(self._rows)

    def key(self, row: int) -> str:
        """The picture's path as the manifest gives it."""
        return self._rows[row][0]

    def read(self, row: int) -> Pair:
        """The pair at `row`; raises ItemError where its picture cannot be read."""
        name, captions = self._rows[row]
        return Pair(name, read_picture(self._folder / name, self._limits), captions)


def read_picture(path: Path, limits: ImageLimits) -> bytes:
    """The bytes of a picture file; raises ItemError where it cannot be read or is larger than the limits allow."""
    try:
        with path.open("rb") as file:
            content = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null in it
        raise ItemError("unreadable", f"{path}: {getattr(error, 'strerror', error)}") from None
    if len(content) > limits.max_bytes:
        raise ItemError("too_large", f"{path}: more than {limits.max_bytes} bytes")
    return content


def _row(record: Record, pictures: tuple[str, ...], caption_field: str | None) -> tuple[str, tuple[str, ...]]:
    if isinstance(record, ItemError):
        raise record
    name = next((record[field] for field in pictures if record.get(field)), None)
    if not isinstance(name, str):
        raise ItemError("no_picture", f"no path of a picture in {' or '.join(pictures)}")
    return name, usable_captions(captions_of(record.get(caption_field) if caption_field else record))


def records(path: Path) -> Iterator[tuple[int, Record]]:
    """(line, record or what is wrong with it); lines count from 1."""
    return _csv(path) if path.suffix.lower() in (".csv", ".tsv") else _jsonl(path)


def _jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    with path.open("rb") as file:
        for line, content in enumerate(file, 1):
            if content.strip():
                yield line, _parse(content)


def _parse(content: bytes) -> Record:
    try:
        found = parse_json(content)
    except ItemError as error:
        return error
    return found if isinstance(found, Mapping) else ItemError("damaged_json", "not an object")


def _csv(path: Path) -> Iterator[tuple[int, Record]]:
    """Bytes that are not UTF-8 become lone surrogates, which `usable_captions` tells from text."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        rows = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        header: list[str] | None = None
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:  # a cell beyond the reader's limit; the next line is read afresh
                yield rows.line_num, ItemError("damaged_csv", str(error))
                continue
            if header is None:
                header = cells
            elif cells:
                yield rows.line_num, dict(zip(header, cells, strict=False))
