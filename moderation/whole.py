"""A file that takes its place only once all of it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


@contextmanager
def written_whole(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Where to write what then takes its place at `path`, on the disk by then: till then, and where that fails, what stood there is as it was.

    Half a file is left nowhere, at Ctrl-C neither; `private` keeps others from reading it. Raises OSError where it cannot be done.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        if private:
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL, 0o600))
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):  # it may never have been there
            beside.unlink()
        raise
