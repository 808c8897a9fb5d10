"""Batches and answers as bytes, between us and a process that runs a detector or a reader alone: nothing that is read here can run code.

A frame is four bytes of length and so much JSON. A batch is a frame, then the contents of its parts, then its vectors.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from moderation.decision import Abstention, Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.detector.faults import ERROR, LONGEST_CAUSE, WRONG, FaultError, kind_of
from moderation.detector.names import LONGEST
from moderation.item import Modality, Part

LENGTH = struct.Struct("!I")
MOST_GREETING_BYTES = 1 << 20
_MOST_PART_BYTES, _MOST_ANSWER_BYTES = 1 << 18, 1 << 24
_CHUNK = 1 << 16
_FLOAT16 = np.dtype("<f2")

# How many parts a reader may derive from one, of how many bytes, and of how many from a whole batch.
Limits = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Description:
    """A detector, as the process that has it tells of it."""

    id: str
    labels: tuple[str, ...]
    modalities: frozenset[Modality]
    needs_embeddings: bool
    needs_scores: tuple[str, ...] = ()
    steepness: float | None = None


@dataclass(frozen=True, slots=True)
class ReaderDescription:
    """A reader, as the process that has it tells of it."""

    id: str
    reads: frozenset[Modality]
    yields: frozenset[Modality]
    crops: bool = False
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first thing that a process says: the detectors and readers it has, by which hooks they came, or why it has none."""

    detectors: tuple[Description, ...] = ()
    broken: str = ""
    readers: tuple[ReaderDescription, ...] = ()
    hooks: tuple[str, ...] = ()


def most_bytes(parts: int) -> int:
    """The size of the longest answer on so many parts that is read."""
    return min(parts * _MOST_PART_BYTES, _MOST_ANSWER_BYTES)


def encode_batch(batch: DetectionBatch, *, limits: Limits | None = None) -> Iterator[bytes | bytearray]:
    """A batch, in pieces of about 64 KiB, or of a part where that is larger; for a reader, how much it may derive from each part."""
    vectors = batch.embeddings
    told = {
        "limits": limits,
        "parts": [
            [part.modality.value, len(part.content), part.name, part.source, part.reader, part.region]
            for part in batch.parts
        ],
        "vectors": None if vectors is None else vectors.shape,
        "scores": None
        if batch.scores is None
        else [{id_: _plain(one) for id_, one in row.items()} for row in batch.scores],
    }
    held = bytearray(_frame(told))
    for content in _contents(batch):
        held += content
        if len(held) >= _CHUNK:
            yield held
            held = bytearray()
    yield held


def read_batch(stream: BinaryIO) -> tuple[DetectionBatch, Limits | None] | None:
    """A batch, and the limits that came with it; None at the stream's end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    told = json.loads(stream.read(*LENGTH.unpack(head)))
    parts = tuple(
        Part(
            Modality(modality),
            stream.read(size),
            name,
            source,
            reader=reader,
            region=None if region is None else tuple(region),
        )
        for modality, size, name, source, reader, region in told["parts"]
    )
    vectors: NDArray[np.float16] | None = None
    if told["vectors"] is not None:
        rows, width = told["vectors"]
        held = bytearray(stream.read(rows * width * _FLOAT16.itemsize))
        vectors = np.frombuffer(held, _FLOAT16).reshape(rows, width)
    scores: tuple[dict[str, Detection], ...] | None = None
    if told["scores"] is not None:
        scores = tuple({id_: _detection(one) for id_, one in row.items()} for row in told["scores"])
    limits: Limits | None = None if told["limits"] is None else tuple(told["limits"])
    return DetectionBatch(parts, vectors, scores), limits


def load_answer(data: bytes | bytearray) -> dict[str, Any]:
    """A stranger's JSON object. Raises FaultError where it says that a unit raised, ValueError where it is none."""
    told = _load(data)
    if "raised" in told:
        raise FaultError(ERROR, _word(told["raised"]))
    return told


def encode_answers(answers: Iterable[Detection], revision: str = "") -> bytes:
    """A frame of checked answers, one for each part, and the revision of who gave them."""
    return _frame({"answers": [_plain(one) for one in answers], "revision": revision})


def encode_raised(error: BaseException) -> bytes:
    """A frame that says what a detector raised: the type's name and no more."""
    return _frame({"raised": kind_of(error)})


def decode_answers(data: bytes | bytearray) -> tuple[Sequence[Detection], str]:
    """What a frame says of each part, WRONG where that is no answer, and the revision; unchecked beyond that.

    Raises FaultError where it says that the detector raised, ValueError where it says neither.
    """
    told = load_answer(data)
    answers, revision = told.get("answers"), told.get("revision")
    if not isinstance(answers, list) or not isinstance(revision, str):
        raise ValueError("found no answers")  # noqa: TRY004 - as above
    return [_detection(one) for one in answers], revision


def encode_greeting(greeting: Greeting) -> bytes:
    """A frame that tells which detectors and readers a process has, or why it has none."""
    detectors = [
        [one.id, one.labels, sorted(one.modalities), one.needs_embeddings, one.needs_scores, one.steepness]
        for one in greeting.detectors
    ]
    readers = [[one.id, sorted(one.reads), sorted(one.yields), one.crops, one.revision] for one in greeting.readers]
    told = {"detectors": detectors, "readers": readers, "hooks": greeting.hooks}
    return _frame({**told, "broken": greeting.broken[:LONGEST_CAUSE]})


def decode_greeting(data: bytes | bytearray) -> Greeting:
    """What a process brings; whether ids, labels and modalities are in order is for others to check. Raises ValueError."""
    told = _load(data)
    try:
        detectors = tuple(
            Description(id_, tuple(labels), _modalities(modalities), vectors, tuple(scores), steep)
            for id_, labels, modalities, vectors, scores, steep in told["detectors"]
        )
        readers = tuple(
            ReaderDescription(id_, _modalities(reads), _modalities(yields), crops, revision)
            for id_, reads, yields, crops, revision in told["readers"]
        )
        hooks = tuple(told["hooks"])
        broken = "".join(one for one in told["broken"][:LONGEST_CAUSE] if one.isprintable())
    except (TypeError, KeyError, AttributeError):
        raise ValueError("found neither detectors nor readers") from None
    return Greeting(detectors, broken, readers, hooks)


def _frame(told: object) -> bytes:
    data = json.dumps(told).encode()
    return LENGTH.pack(len(data)) + data


def _contents(batch: DetectionBatch) -> Iterator[bytes]:
    yield from (part.content for part in batch.parts)
    if batch.embeddings is not None:
        yield batch.embeddings.astype(_FLOAT16, copy=False).tobytes()


def _modalities(told: Iterable[str]) -> frozenset[Modality]:
    return frozenset(Modality(one) for one in told)


def _load(data: bytes | bytearray) -> dict[str, Any]:
    try:
        told = json.loads(data)
    except RecursionError:
        raise ValueError("found JSON that is nested too deep") from None
    if not isinstance(told, dict):
        raise ValueError("found no JSON object")  # noqa: TRY004 - of a stranger's words a wrong type is a wrong value
    return told


def plain_abstention(answer: Abstention) -> object:
    """An abstention as JSON has it; WRONG is null."""
    return None if answer is WRONG else {"abstains": [answer.reason, answer.detail, answer.cause]}


def abstention(told: Any) -> Abstention:
    """An abstention of a stranger's, WRONG where it is none."""
    try:
        reason, detail, cause = told["abstains"]
    except (TypeError, ValueError, KeyError):
        return WRONG
    return Abstention(reason, detail, cause) if {type(detail), type(cause)} == {str} else WRONG


def _plain(answer: Detection) -> object:
    if isinstance(answer, Abstention):
        return plain_abstention(answer)
    return [[one.label, one.value, one.calibrated, one.concept, one.evidence] for one in answer]


def _detection(told: Any) -> Detection:
    if isinstance(told, dict):
        return abstention(told)
    try:
        return tuple(
            Score(label, value, calibrated is True, concept, evidence)
            for label, value, calibrated, concept, evidence in told
        )
    except (TypeError, ValueError):
        return WRONG


def _word(told: object) -> str:
    return told if isinstance(told, str) and len(told) <= LONGEST and told.isidentifier() else ""
