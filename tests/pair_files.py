"""Real picture files and tar archives that tests of the training data share."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from moderation.errors import ItemError
from moderation.training.broken import Broken
from moderation.training.pairs import Pair


def picture(number: int, *, width: int = 40, height: int = 30, kind: str = "JPEG") -> bytes:
    """A picture file that is another for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(out, kind)
    return out.getvalue()


def tar_bytes(members: Mapping[str, bytes | str], *, format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002 - tarfile's name
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            data = content.encode() if isinstance(content, str) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_shard(path: Path, first: int, count: int) -> Path:
    """A shard of whole pairs, numbered from `first`, each with two captions."""
    members: dict[str, bytes | str] = {}
    for number in range(first, first + count):
        members[f"{number:06d}.jpg"] = picture(number)
        members[f"{number:06d}.txt"] = f"a picture, {number}"
        members[f"{number:06d}.json"] = json.dumps({"caption": f"number {number}", "width": 40})
    path.write_bytes(tar_bytes(members))
    return path


class Stubborn:
    """`count` pairs, of which those in `bad` cannot be read and those in `odd` fail in a way nobody foresaw."""

    broken = Broken()

    def __init__(self, count: int, *, bad: Collection[int] = (), odd: Collection[int] = ()) -> None:
        self._count, self._bad, self._odd = count, bad, odd

    def __len__(self) -> int:
        return self._count

    def key(self, row: int) -> str:
        return f"record {row}"

    def read(self, row: int) -> Pair:
        if row in self._bad:
            raise ItemError("unreadable", "as asked")
        if row in self._odd:
            raise ZeroDivisionError("as asked")
        return Pair(self.key(row), picture(0), ("a", "b", "c"))
