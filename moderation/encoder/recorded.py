"""An encoder that answers from a file of stored vectors: what was recorded has its vector, everything else is an error of its row."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from moderation.encoder.base import Encoded, Fingerprint, Vectors
from moderation.encoder.card import EncoderCard
from moderation.errors import CheckpointError, ItemError
from moderation.item import content_digest

NOT_RECORDED = "not_recorded"
NUMERIC = "recorded"

_CARD = "card"
_SIDES = ("image", "text")
_DIGEST_BYTES = 32
_IDENTITY_LENGTH = 32
_NORM_TOLERANCE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class RecordedEncoder:
    """An Encoder over stored vectors, by the digest of the content; it needs no model, and holds no content.

    Its identity is that of the whole recording, so a lock made on one is refused on any other.
    """

    card: EncoderCard
    fingerprint: Fingerprint
    images: Mapping[str, Vectors]
    texts: Mapping[str, Vectors]

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        """The recorded vectors of pictures, by the bytes of their files."""
        return self._encode(self.images, images)

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        """The recorded vectors of texts."""
        return self._encode(self.texts, [text.encode() for text in texts])

    def count_tokens(self, text: str) -> int:
        """The number of words and the two tokens around them, for there is no tokenizer."""
        return len(text.split()) + 2

    def _encode(self, known: Mapping[str, Vectors], contents: Sequence[bytes]) -> Encoded:
        vectors = np.zeros((len(contents), self.card.width), np.float16)
        errors: dict[int, ItemError] = {}
        for row, content in enumerate(contents):
            found = known.get(content_digest(content))
            if found is None:
                errors[row] = ItemError(
                    NOT_RECORDED, f"the recording {self.card.name!r} holds no vector of this content"
                )
            else:
                vectors[row] = found
        return Encoded(vectors, errors)


def load_recording(path: Path) -> RecordedEncoder:
    """The encoder in a file that `write_recording` made.

    Raises CheckpointError where the file is not one, its vectors do not fit its card, or one of them is not of unit length.
    """
    try:
        with safe_open(path, "numpy") as file:
            written = (file.metadata() or {}).get(_CARD)
        arrays = safetensors.load_file(path)
        content = path.read_bytes()
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"recording {path}: cannot be read as safetensors: {error}") from None
    if written is None:
        raise CheckpointError(f"recording {path}: no {_CARD!r} in its metadata; expected what write_recording writes")
    try:
        card = EncoderCard.model_validate_json(written)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise CheckpointError(f"recording {path}: {_CARD}: {first['loc']}: {first['msg']}") from None
    identity = hashlib.sha256(content).hexdigest()[:_IDENTITY_LENGTH]
    sides = {side: _side(path, arrays, side, card) for side in _SIDES}
    return RecordedEncoder(card, Fingerprint(identity, NUMERIC), sides["image"], sides["text"])


def write_recording(
    path: Path,
    *,
    name: str,
    texts: Mapping[str, NDArray[Any]],
    images: Mapping[bytes, NDArray[Any]] | None = None,
    licence: str | None = None,
) -> None:
    """Records vectors of any length, [d] each, of texts and of pictures (the bytes of their files); only digests are kept.

    Where pictures are not at hand, other bytes can stand for them, such as their names. The same vectors give the same file,
    and so the same identity, in any order. Raises ValueError where there is no vector, or one is zero or of another width.
    """
    sides: dict[str, dict[str, NDArray[Any]]] = {
        "image": {content_digest(content): one for content, one in (images or {}).items()},
        "text": {content_digest(text.encode()): one for text, one in texts.items()},
    }
    widths = {np.shape(one) for side in sides.values() for one in side.values()}
    if len(widths) != 1:
        raise ValueError(
            f"recording {name!r}: found vectors of shapes {sorted(widths)}; expected one, and some vectors"
        )
    modalities = tuple(side for side in _SIDES if sides[side])
    ((width,),) = widths
    values = {"schema": "encoder-card/v1", "name": name, "modalities": modalities, "width": width, "licence": licence}
    card = EncoderCard.model_validate({**values, "activation": "unknown"})
    arrays: dict[str, NDArray[Any]] = {}
    for side in modalities:
        digests = sorted(sides[side])
        arrays[f"{side}_digests"] = np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, _DIGEST_BYTES)
        arrays[f"{side}_vectors"] = _unit(name, [sides[side][digest] for digest in digests])
    path.write_bytes(safetensors.save(arrays, metadata={_CARD: card.model_dump_json(by_alias=True)}))


def _unit(name: str, vectors: Iterable[NDArray[Any]]) -> Vectors:
    raw = np.stack(list(vectors)).astype(np.float64)
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and norms.all()):
        raise ValueError(f"recording {name!r}: a vector is zero or not finite")
    unit: Vectors = (raw / norms).astype(np.float16)
    return unit


def _side(path: Path, arrays: Mapping[str, NDArray[Any]], side: str, card: EncoderCard) -> dict[str, Vectors]:
    if side not in card.modalities:
        return {}
    digests, vectors = arrays.get(f"{side}_digests"), arrays.get(f"{side}_vectors")
    if digests is None or vectors is None:
        raise CheckpointError(
            f"recording {path}: its card says {side}, but there are no {side}_digests and {side}_vectors"
        )
    expected = (len(digests), card.width)
    if vectors.shape != expected or vectors.dtype != np.float16 or digests.shape != (len(digests), _DIGEST_BYTES):
        raise CheckpointError(
            f"recording {path}: {side}_vectors are {vectors.dtype} {vectors.shape}, expected float16 {expected}"
        )
    norms = np.linalg.norm(vectors.astype(np.float32), axis=1)
    if not (np.abs(norms - 1.0) < _NORM_TOLERANCE).all():
        raise CheckpointError(f"recording {path}: a vector of {side}_vectors is not of unit length")
    return {digest.tobytes().hex(): vector for digest, vector in zip(digests, vectors, strict=True)}
