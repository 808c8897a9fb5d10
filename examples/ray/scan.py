"""A folder, JSON lines or Parquet decided on Ray from Python: python scan.py ADDRESS FOLDER LOCK PATH..., where `moderation scan --ray` is the same from a shell."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from moderation.scaleout.scan import scan
from moderation.settings import load_settings
from moderation.source.find import find


def main(address: str, folder: Path, lock: Path, paths: Sequence[Path]) -> None:
    """Decide, keep the decisions in `folder`, and count what would be asked for."""
    settings = load_settings()
    found = find(paths, max_bytes=settings.images.max_bytes)
    decisions = scan(found, [lock], settings, address=address, folder=folder, cores=1, begun=told)
    for action, items in Counter(one.proposed for one in decisions).most_common():
        print(f"{items:>6}  {action}")


def told(there: int, parts: int) -> None:
    """Where a run that was killed goes on."""
    print(f"{there} of {parts} parts are there already")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), [Path(one) for one in sys.argv[4:]])
