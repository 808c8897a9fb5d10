"""Stand-ins that tests share: an encoder whose vectors are dialled in by the content, locks over it, detectors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from moderation.compiler.golden import golden_pictures
from moderation.decision import Abstention, Score, Severity, Sink
from moderation.detector.base import Detection, DetectionBatch, Detector
from moderation.embedding.cache import pack
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.errors import ItemError
from moderation.item import JUDGED, ContentItem, Modality, Part
from moderation.plugin import manager
from moderation.plugin.brought import Plugins
from moderation.policy.lock import Lock, LockedAction
from moderation.reader.base import Reader

ACTIONS = ("allow", "label", "limit", "review", "remove")
WIDTH = 8


class FakeEncoder:
    """Content that reads as a number c in [-1, 1] gets a vector with cosine c to the first axis, where violations lie.

    Other text and PNG files get a vector of their own; other pictures cannot be decoded. `jitter` is another numeric class's error.
    """

    def __init__(
        self,
        *,
        identity: str = "0123456789abcdef",
        numeric: str = "fake",
        modalities: Sequence[str] = ("image", "text"),
        jitter: float = 0.0,
    ) -> None:
        self.card = EncoderCard.model_validate(
            {
                "schema": "encoder-card/v1",
                "name": "fake",
                "modalities": modalities,
                "width": WIDTH,
                "activation": "gelu",
            }
        )
        self.fingerprint = Fingerprint(identity, numeric)
        self.jitter = jitter
        self.encoded: list[str] = []

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return self._encode([image.decode("latin-1") for image in images], pictures=True)

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        return self._encode(texts, pictures=False)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
        vectors, errors = np.zeros((len(contents), WIDTH)), {}
        for row, content in enumerate(contents):
            self.encoded.append(content)
            try:
                vectors[row] = at(float(content) + self.jitter)
            except ValueError:
                if pictures and not content.startswith("\x89PNG"):
                    errors[row] = ItemError("unsupported_input", "not a picture")
                else:
                    vectors[row] = scattered(content)
        return Encoded(vectors.astype(np.float16), errors)


class Swayed(FakeEncoder):
    """Vectors turn a little with the number of those that are encoded beside them."""

    def __init__(self, sway: float = 2e-3) -> None:
        super().__init__()
        self.sway = sway
        self.sizes: list[int] = []

    def _encode(self, contents: Sequence[str], *, pictures: bool) -> Encoded:
        self.sizes.append(len(contents))
        made = super()._encode(contents, pictures=pictures)
        turned = made.vectors.astype(np.float64)
        turned[:, 0] += np.where(turned.any(axis=1), self.sway * math.sin(len(contents) - 1), 0.0)
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)
        return Encoded(turned.astype(np.float16), made.errors)


def at(cosine: float) -> Any:
    """A unit vector with this cosine to the first axis, the rest along the second."""
    clipped = min(1.0, max(-1.0, cosine))
    return np.array([clipped, math.sqrt(1.0 - clipped**2), *[0.0] * (WIDTH - 2)])


def scattered(text: str) -> Any:
    """A unit vector of this text alone, at right angles to the first two axes."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).normal(size=WIDTH)
    vector[:2] = 0.0
    return vector / np.linalg.norm(vector)


def golden() -> Any:
    """What FakeEncoder makes of the golden pictures."""
    return FakeEncoder().encode_images(list(golden_pictures())).vectors


def lock(policy: str = "weapons", **changes: Any) -> Lock:
    """A lock over FakeEncoder: violations at cosine 1, contrast at 0; remove from 0.9, review from 0.5."""
    arrays = {
        "violating": at(1.0)[None].astype(np.float32),
        "contrast": at(0.0)[None].astype(np.float32),
        "gain": np.ones(2),
        "offset": np.zeros(2),
        "numbers": np.array([10.0, 0.0, 0.25, 0.0, 0.0]),
        "golden": at(1.0)[None].astype(np.float16),
        "golden_pictures": golden(),
    }
    values: dict[str, Any] = {
        "policy": policy,
        "version": "1.0.0",
        "policy_hash": "0" * 64,
        "severity": Severity.HIGH,
        "on_error": "review",
        "modalities": (Modality.IMAGE,),
        "encoder": "default",
        "encoder_identity": "0123456789abcdef",
        "encoder_numeric": "fake",
        "width": WIDTH,
        "level": "L0",
        "arrays": arrays,
        "phrases": ("1.0",),
        "actions": (action("remove", 0.9), action("review", 0.5)),
        "max_parts": 4,
    }
    return Lock(**{**values, **changes})


def action(name: str, threshold: float | None, *, budget: float | None = None) -> LockedAction:
    certificate = None if budget is None else {"budget": budget}
    return LockedAction(name, "precision", 0.9, 0.95, threshold=threshold, certificate=certificate)


def packed(vector: Any) -> bytes:
    """What a cache keeps of one vector."""
    (value,) = pack(vector[np.newaxis])
    return value


def picture(cosine: float | str, *, name: str = "") -> Part:
    return Part.image(str(cosine).encode(), name=name)


def item(*parts: Part, id: str = "item", **attributes: str) -> ContentItem:  # noqa: A002 - named as in ContentItem
    return ContentItem(id, parts, attributes)


class FakeDetector:
    """A detector that answers what a function says of a batch; without one, a score of 0 on every part."""

    def __init__(
        self,
        id: str = "fake",  # noqa: A002 - named as in Detector
        answer: Callable[[DetectionBatch], Any] | None = None,
        *,
        labels: tuple[str, ...] = ("risk",),
        modalities: Iterable[Modality] = JUDGED,
        needs_embeddings: bool = False,
        needs_scores: tuple[str, ...] = (),
        steepness: float | None = None,
    ) -> None:
        self.id, self.labels, self.modalities = id, labels, frozenset(modalities)
        self.needs_embeddings, self.needs_scores, self.steepness = needs_embeddings, needs_scores, steepness
        self.answer = answer
        self.batches: list[DetectionBatch] = []

    def detect(self, batch: DetectionBatch) -> Sequence[Detection]:
        self.batches.append(batch)
        if self.answer is None:
            return [tuple(Score(label, 0.0) for label in self.labels)] * len(batch)
        answered: Sequence[Detection] = self.answer(batch)
        return answered


class Lived(FakeDetector):
    """A detector with a life: writes down what is called, and raises where it is told to."""

    def __init__(self, id: str = "fake", **raised: BaseException) -> None:  # noqa: A002 - named as in Detector
        super().__init__(id)
        self.called: list[str] = []
        self.raised = raised

    def _call(self, step: str) -> None:
        self.called.append(step)
        if step in self.raised:
            raise self.raised[step]

    def setup(self) -> None:
        self._call("setup")

    def verify(self) -> None:
        self._call("verify")

    def close(self) -> None:
        self._call("close")


class FakeReader:
    """A reader that answers what a function says of a batch; without one, the content of each part as a text."""

    def __init__(
        self,
        id: str = "ocr",  # noqa: A002 - named as in Reader
        answer: Callable[[tuple[Part, ...]], Any] | None = None,
        *,
        reads: Iterable[Modality] = (Modality.IMAGE,),
        yields: Iterable[Modality] = (Modality.TEXT,),
        crops: bool = False,
    ) -> None:
        self.id, self.reads, self.yields, self.crops = id, frozenset(reads), frozenset(yields), crops
        self.answer = answer
        self.batches: list[tuple[Part, ...]] = []

    def read(self, parts: tuple[Part, ...]) -> Any:
        self.batches.append(parts)
        return self.answer(parts) if self.answer else [[Part(Modality.TEXT, part.content)] for part in parts]


def always(value: float | Abstention, label: str = "risk") -> Callable[[DetectionBatch], list[Detection]]:
    return lambda batch: [value if isinstance(value, Abstention) else (Score(label, value),)] * len(batch)


def plugins_with(*detectors: Detector, readers: Iterable[Reader] = (), sinks: Iterable[Sink] = ()) -> Plugins:
    """The built-in plugin, and these detectors, readers and sinks as if plugins had brought them."""
    builtin = manager.load(found=())
    brought: Mapping[str, Detector] = {one.id: one for one in detectors}
    return Plugins(
        builtin.records,
        detectors=brought,
        loaders=builtin.loaders,
        readers={one.id: one for one in readers},
        sinks={one.id: one for one in sinks},
    )
