"""What an export says of itself, as `export.json` beside its towers: of which encoder it is, who made it, and the files' digests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moderation.errors import CheckpointError

MANIFEST_FILE = "export.json"


class Manifest(BaseModel):
    """`checkpoint` is the reference that was exported, `files` maps a file's name to its SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["onnx-export/v1"] = Field("onnx-export/v1", alias="schema")
    checkpoint: str
    identity: str
    opset: int
    tools: dict[str, str]
    files: dict[Literal["image.onnx", "text.onnx"], str]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export. Raises CheckpointError where there is none, or it is no manifest."""
    path = folder / MANIFEST_FILE
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError:
        raise CheckpointError(
            f"{folder}: no {MANIFEST_FILE}; expected a folder that `moderation-onnx export` wrote"
        ) from None
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise CheckpointError(f"{path}: {details}") from None


def read_tower(folder: Path, manifest: Manifest, name: str) -> bytes:
    """A tower's file, of which these very bytes have the digest in the manifest. Raises CheckpointError where they have not."""
    path, expected = folder / name, manifest.files.get(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; export again") from None
    if (found := digest(content)) != expected:
        raise CheckpointError(f"{path}: SHA-256 is {found}, the manifest says {expected}; export again")
    return content


def digest(content: bytes) -> str:
    """SHA-256 in hex digits."""
    return hashlib.sha256(content).hexdigest()
