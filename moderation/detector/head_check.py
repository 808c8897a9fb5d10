"""Whether what a head holds fits together: its level's parts, their shapes and types, and numbers that a score can be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from moderation.errors import LockError
from moderation.policy.lock import Level

if TYPE_CHECKING:
    from moderation.detector.head import Head

LEVELS: tuple[Level, ...] = get_args(Level)
NUMBERS = ("sharpness", "centre", "scale", "bias", "floor")


def check(head: Head) -> None:
    """Raises LockError that says what does not fit."""
    if head.level not in LEVELS:
        raise LockError(f"head: found level {head.level!r}, expected one of {', '.join(LEVELS)}")
    if not (head.probe is not None) == (head.anchor is not None) == (head.level == "L3"):
        raise LockError(f"head {head.level}: a probe with its anchor belongs to L3 and to no other level")
    if (head.remembered is not None) != (head.level == "L2"):
        raise LockError(f"head {head.level}: exemplars belong to L2 and to no other level")
    if (head.weights is not None) != (head.level == "L5"):
        raise LockError(f"head {head.level}: weights of phrases belong to L5 and to no other level")
    for name, (array, dtype, shape) in _arrays(head).items():
        if array.dtype != dtype or array.shape != shape:
            raise LockError(f"head {head.level}: {name!r} is {array.dtype} {array.shape}, expected {dtype} {shape}")
        if not np.isfinite(array).all():
            raise LockError(f"head {head.level}: {name!r} holds numbers that are not finite")
    _check_numbers(head)


def _arrays(head: Head) -> dict[str, tuple[NDArray[Any], str, tuple[int, ...]]]:
    """Every array that the head has, with the dtype and the shape that it must have."""
    phrases, width = len(head.violating) + len(head.contrast), head.violating.shape[-1]
    arrays: dict[str, tuple[NDArray[Any], str, tuple[int, ...]]] = {
        "violating": (head.violating, "float32", (len(head.violating), width)),
        "contrast": (head.contrast, "float32", (len(head.contrast), width)),
        "gain": (head.gain, "float64", (phrases,)),
        "offset": (head.offset, "float64", (phrases,)),
    }
    if head.probe is not None and head.anchor is not None:
        arrays |= {"probe": (head.probe, "float64", (width,)), "anchor": (head.anchor, "float64", (1,))}
    if head.weights is not None:
        arrays["weights"] = (head.weights, "float64", (phrases,))
    if head.remembered is not None:
        arrays |= head.remembered.expected(width)
    return arrays


def _check_numbers(head: Head) -> None:
    if not len(head.violating) or not len(head.contrast):
        raise LockError(f"head {head.level}: expected at least one violating and one contrast phrase")
    if not all(np.isfinite(getattr(head, name)) for name in NUMBERS) or head.scale <= 0 or head.sharpness <= 0:
        raise LockError(f"head {head.level}: expected finite numbers, and scale and sharpness above 0")
    if head.remembered is not None and (not len(head.remembered.votes) or head.remembered.sharpness[0] <= 0):
        raise LockError(f"head {head.level}: expected at least one exemplar, and an affinity above 0")
    if head.weights is not None and head.weights.min() < 0:
        raise LockError(f"head {head.level}: a weight is {head.weights.min()}, expected none below 0")
    if head.floor < 0:
        raise LockError(f"head {head.level}: floor is {head.floor}, expected at least 0")
