"""Whether the arrays of a head fit together: those of its level, their shapes and types, and numbers that a score can be made of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from moderation.detector.remembered import NAMES
from moderation.errors import LockError
from moderation.policy.lock import Level

LEVELS: tuple[Level, ...] = get_args(Level)
NUMBERS = ("sharpness", "centre", "scale", "bias", "floor")

# What a head has at a level beside what it has at all of them.
_EXTRA = {"L2": set(NAMES), "L3": {"probe", "anchor"}, "L5": {"weights"}}

Arrays = Mapping[str, NDArray[Any]]


def check_names(level: Level, found: Collection[str]) -> None:
    """Raises LockError where an array of this level is missing, or one is of another level."""
    if level not in LEVELS:
        raise LockError(f"head: found level {level!r}, expected one of {', '.join(LEVELS)}")
    expected = {"violating", "contrast", "gain", "offset", "numbers"} | _EXTRA.get(level, set())
    if set(found) != expected:
        raise LockError(f"head {level}: found arrays {sorted(found)}, expected {sorted(expected)}")


def check(level: Level, arrays: Arrays) -> None:
    """Raises LockError that says what does not fit."""
    check_names(level, arrays.keys())
    for name, (dtype, shape) in _expected(arrays).items():
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape:
            raise LockError(f"head {level}: {name!r} is {array.dtype} {array.shape}, expected {dtype} {shape}")
        if not np.isfinite(array).all():
            raise LockError(f"head {level}: {name!r} holds numbers that are not finite")
    for wrong in _wrong(arrays):
        raise LockError(f"head {level}: {wrong}")


def _expected(arrays: Arrays) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Of every array that is there the dtype and the shape that it must have."""
    width, phrases = arrays["violating"].shape[-1], len(arrays["violating"]) + len(arrays["contrast"])
    exemplars = len(arrays.get("exemplars", ()))
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {
        "violating": ("float32", (len(arrays["violating"]), width)),
        "contrast": ("float32", (len(arrays["contrast"]), width)),
        "gain": ("float64", (phrases,)),
        "offset": ("float64", (phrases,)),
        "numbers": ("float64", (len(NUMBERS),)),
        "exemplars": ("float32", (exemplars, width)),
        "votes": ("float64", (exemplars,)),
        "affinity": ("float64", (1,)),
        "probe": ("float64", (width,)),
        "anchor": ("float64", (1,)),
        "weights": ("float64", (phrases,)),
    }
    return {name: shapes[name] for name in arrays}


def _wrong(arrays: Arrays) -> Iterator[str]:
    """Which numbers make no score, what is told first being what the rest hangs on."""
    numbers = dict(zip(NUMBERS, arrays["numbers"], strict=True))
    if not len(arrays["violating"]) or not len(arrays["contrast"]):
        yield "expected at least one violating and one contrast phrase"
    if numbers["scale"] <= 0 or numbers["sharpness"] <= 0:
        yield "expected scale and sharpness above 0"
    if "affinity" in arrays and (not len(arrays["votes"]) or arrays["affinity"][0] <= 0):
        yield "expected at least one exemplar, and an affinity above 0"
    if "weights" in arrays and arrays["weights"].min() < 0:
        yield f"a weight is {arrays['weights'].min()}, expected none below 0"
    if numbers["floor"] < 0:
        yield f"floor is {numbers['floor']}, expected at least 0"
