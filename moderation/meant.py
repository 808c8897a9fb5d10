"""What was probably meant by a name that nobody knows, or a file that is not there: the end of a message."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one; None where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str], *, listed: bool = True) -> str:
    """`; did you mean 'x'?`; where nothing is near, all that are known, if they are to be `listed`."""
    names = list(known)
    close = nearest(name, names)
    if close is not None:
        return f"; did you mean {close!r}?"
    return f"; expected one of {', '.join(names)}" if names and listed else ""


def neighbour(path: Path, ending: str = "") -> str:
    """`; did you mean 'mine/x.yaml'?` for a path that is not there, where something of a similar name lies beside it; with `ending`, one that ends alike."""
    if os.path.lexists(path):
        return ""
    try:
        names = sorted(one.name.removesuffix(ending) for one in path.parent.iterdir() if one.name.endswith(ending))
    except (OSError, ValueError):  # such as a name with a zero byte
        return ""
    close = nearest(path.name.removesuffix(ending), names)
    return "" if close is None else f"; did you mean {str(path.with_name(close + ending))!r}?"
