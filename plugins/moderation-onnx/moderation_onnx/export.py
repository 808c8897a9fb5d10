"""A checkpoint's towers into ONNX, once: each compared with torch's on the shapes that will run, then written with a manifest."""

from __future__ import annotations

import importlib.metadata
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor
from torch.export import Dim

from moderation.encoder.card import ImageCard, TextCard
from moderation.encoder.checkpoint import load
from moderation.encoder.clip import TorchEncoder
from moderation.encoder.tokens import BATCH_BUCKETS, length_bucket
from moderation.errors import CheckpointError
from moderation_onnx.encoder import Tower
from moderation_onnx.manifest import MANIFEST_FILE, Manifest, digest

OPSET = 20
# Of any number of a vector of length 1: a fiftieth of float16's step below 1. Measured 6e-7 at most.
BOUND = 1e-5
_TOOLS = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers")
_DYNAMIC = Dim.DYNAMIC  # a size that the graph would fix is an error, not a graph for that size
Batch = tuple[Tensor, ...]


def export(reference: str, out: Path) -> Manifest:
    """Writes the towers of the checkpoint that a reference means, and their manifest, into a new folder.

    Raises CheckpointError where the checkpoint is not sound, a tower does not export, or gives other vectors than torch's,
    and FileExistsError where there is something at `out`.
    """
    if out.exists():
        raise FileExistsError(out)
    encoder = load(reference, device="cpu")
    assert isinstance(encoder, TorchEncoder)
    path = Path(reference).expanduser()
    towers: dict[Any, bytes] = {}
    if encoder.image:
        towers["image.onnx"] = _graph(encoder.image.tower, ["pixels"], _pixels(encoder.image.card), ({0: _DYNAMIC},))
    if encoder.text:
        card = encoder.text.tokenizer.card
        sizes = {0: _DYNAMIC} if len(_lengths(card)) == 1 else {0: _DYNAMIC, 1: _DYNAMIC}
        towers["text.onnx"] = _graph(encoder.text.tower, ["ids", "mask"], _tokens(card), (sizes, sizes))
    manifest = Manifest(
        checkpoint=str(path.resolve()) if path.is_dir() else reference,
        identity=encoder.fingerprint.identity,
        opset=OPSET,
        tools={name: importlib.metadata.version(name) for name in _TOOLS},
        files={name: digest(content) for name, content in towers.items()},
    )
    _write(out, {**towers, MANIFEST_FILE: manifest.model_dump_json(indent=2, by_alias=True).encode() + b"\n"})
    return manifest


class _Module(torch.nn.Module):
    """A tower as the exporter wants it."""

    def __init__(self, tower: Any, inputs: int) -> None:
        super().__init__()
        self.tower = tower
        self.forward = self._one if inputs == 1 else self._two  # the exporter reads the signature

    def _one(self, pixels: Tensor) -> Tensor:
        return self.tower(pixels)

    def _two(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.tower(ids, mask)


def _graph(tower: Any, names: list[str], batches: Sequence[Batch], sizes: Any) -> bytes:
    """The tower as the bytes of an ONNX file; the first of the batches is its example, all are compared."""
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                _Module(tower, len(names)), batches[0], input_names=names, output_names=["vectors"],
                dynamo=True, dynamic_shapes=sizes, opset_version=OPSET, verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise CheckpointError(f"the tower of {names} does not export: {str(error).strip().splitlines()[0]}") from None
    content = _without_notes(program.model_proto).SerializeToString(deterministic=True)
    _compare(tower, Tower.of(content), batches)
    return content


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without the places in source files, on this machine, that each node came from."""
    graph = model.graph
    for one in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del one.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    return model


def _compare(tower: Any, ours: Tower, batches: Sequence[Batch]) -> None:
    for batch in batches:
        with torch.inference_mode():
            expected = torch.nn.functional.normalize(tower(*(one.clone() for one in batch)).float(), dim=-1)
            found = torch.nn.functional.normalize(ours(*batch), dim=-1)
        difference = float((expected - found).abs().max())
        if not difference <= BOUND:  # True for NaN
            raise CheckpointError(
                f"a batch of shape {tuple(batch[0].shape)} differs by {difference:.1e} from torch's vectors; "
                f"expected at most {BOUND:.0e}"
            )


def _pixels(card: ImageCard) -> list[Batch]:
    random = torch.Generator().manual_seed(0)
    return [(torch.randn(count, 3, card.size, card.size, generator=random),) for count in _counts()]


def _tokens(card: TextCard) -> list[Batch]:
    """Ids of every length that will run; the second half of the batch is half as long, the rest of its rows padding."""
    batches = []
    for length in _lengths(card):
        for count in _counts():
            ids, mask = torch.ones(count, length, dtype=torch.int64), torch.ones(count, length, dtype=torch.int64)
            ids[:, 1::2] = 2
            mask[(count + 1) // 2 :, length // 2 :] = 0
            batches.append((ids, mask))
    return batches


def _counts() -> tuple[int, ...]:
    """Every bucket size; first one that is not 1, since an example's size of 1 would be fixed."""
    return (*BATCH_BUCKETS[1:], BATCH_BUCKETS[0])


def _lengths(card: TextCard) -> list[int]:
    return sorted({length_bucket(length, card) for length in range(1, card.context_length + 1)})


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages it could use, and of its own future; neither is about the checkpoint."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _write(out: Path, files: dict[str, bytes]) -> None:
    """All of them or none: into a folder beside, then renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for name, content in files.items():
            (beside / name).write_bytes(content)
        beside.chmod(0o755)
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
