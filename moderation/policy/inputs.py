"""The files that a piece of evidence rests on, by SHA-256: when one reads otherwise, the evidence is of something else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from moderation.policy.manifest import TargetRow
from moderation.policy.paths import is_file


def digest_inputs(files: Iterable[Path], folder: Path) -> dict[str, str]:
    """The SHA-256 of each file by its `input_name`; what is no file is left out.

    Raises OSError where one cannot be read.
    """
    return {input_name(one, folder): _digest(one) for one in sorted(set(files)) if is_file(one)}


def digest_manifests(rows: Iterable[TargetRow], folder: Path) -> dict[str, str]:
    """The SHA-256 of each manifest that these rows stand in, as `digest_inputs` has it."""
    return digest_inputs({row.manifest for row in rows}, folder)


def input_name(path: Path, folder: Path) -> str:
    """What evidence calls a file: its name relative to the policy's folder, the same in every checkout."""
    return Path(os.path.relpath(path, folder)).as_posix()


def changed_inputs(inputs: Mapping[str, str], folder: Path) -> list[str]:
    """The names of those files that are gone, or read otherwise than when the evidence was made."""
    return [name for name, digest in inputs.items() if _found(folder / name) != digest]


def _found(path: Path) -> str | None:
    try:
        return _digest(path)
    except OSError:
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
