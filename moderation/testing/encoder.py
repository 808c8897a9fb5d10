"""What every encoder promises, as tests that a plugin's own test file inherits.

    class TestOnnx(EncoderKit):
        make = staticmethod(lambda: OnnxEncoder("models/clip.onnx"))
        name = "onnx"
        images = [Path("cat.jpg").read_bytes(), Path("dog.png").read_bytes()]

pytest finds the rest, as it does of a detector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from moderation.detector.sound import is_sound, lengths
from moderation.encoder.base import Encoded, Encoder
from moderation.plugin.samples import HOSTILE_FILES, HOSTILE_TEXTS, made_pictures
from moderation.testing.kit import Kit

TEXTS = ("a photo of a dog", "Grüße aus Köln", "two knives on a table")


class EncoderKit(Kit):
    """Inherit, and say how the encoder is loaded; of its modalities, those on its card are tested.

    `name` is what the loader is registered as. `images` are picture files that it can decode, at least two; `tolerance` is how far the cosine of what
    two batches make of one content may lie below 1: batches of other sizes may run other kernels.
    """

    make: ClassVar[Callable[[], Encoder]]
    name: ClassVar[str]
    images: ClassVar[Sequence[bytes]] = tuple(made_pictures(3))
    texts: ClassVar[Sequence[str]] = TEXTS
    tolerance: ClassVar[float] = 2e-3
    brings: ClassVar[str] = "encoders"
    _shared: ClassVar[Encoder]

    # Identity

    def test_identity_stays(self) -> None:
        """Loaded twice, it has the same card and fingerprint: vectors of one are taken for those of the other."""
        one, other = self._encoder(), self._made()
        assert (one.card, one.fingerprint) == (other.card, other.fingerprint)

    # Shape

    def test_shape_of_no_content(self) -> None:
        """Nothing is encoded into no vectors, of the card's width."""
        for encode, _, _ in self._sides():
            assert encode(()).vectors.shape == (0, self._encoder().card.width)

    def test_shape_of_vectors(self) -> None:
        """One float16 vector of unit length for each content, and no error."""
        for encode, contents, _ in self._sides():
            found = encode(contents)
            assert found.vectors.dtype == np.float16, f"found {found.vectors.dtype}; expected float16"
            assert found.vectors.shape == (len(contents), self._encoder().card.width)
            assert not found.errors, f"found errors of rows {sorted(found.errors)}"
            assert is_sound(lengths(found.vectors)).all(), f"found lengths {lengths(found.vectors)}; expected 1"

    def test_shape_tells_contents_apart(self) -> None:
        """Different contents have different vectors."""
        for encode, contents, _ in self._sides():
            assert len(np.unique(encode(contents).vectors, axis=0)) == len(set(contents))

    # Determinism

    def test_determinism_of_equal_batches(self) -> None:
        """The same batch twice has the same vectors, to the last bit."""
        for encode, contents, _ in self._sides():
            assert encode(contents).vectors.tobytes() == encode(contents).vectors.tobytes()

    # Batching

    def test_batching_changes_no_vector(self) -> None:
        """A content is encoded alike alone, in company, and in another order."""
        for encode, contents, _ in self._sides():
            together = encode(contents).vectors
            self._agree(together, np.concatenate([encode([one]).vectors for one in contents]), "alone")
            self._agree(together, encode(list(reversed(contents))).vectors[::-1], "in another order")

    # Failure

    def test_failure_of_hostile_content_is_its_own(self) -> None:
        """What cannot be decoded is an error of its row, never an exception; the others' vectors are as ever."""
        for encode, contents, hostile in self._sides():
            found = encode([*hostile, *contents])
            assert all(row < len(hostile) for row in found.errors), "a good content has an error beside hostile ones"
            self._agree(encode(contents).vectors, found.vectors[len(hostile) :], "beside hostile content")
            fine = [row for row in range(len(hostile)) if row not in found.errors]
            assert is_sound(lengths(found.vectors[fine])).all(), "a content without an error has no vector"

    # What the tests share

    @classmethod
    def _encoder(cls) -> Encoder:
        if "_shared" not in vars(cls):
            cls._shared = cls._made(cls())
        return cls._shared

    def _sides(self) -> list[tuple[Callable[[Any], Encoded], Sequence[Any], Sequence[Any]]]:
        """For each modality of the card, what encodes it, good content, and hostile content."""
        encoder = self._encoder()
        sides: dict[str, tuple[Callable[[Any], Encoded], Sequence[Any], Sequence[Any]]] = {
            "image": (encoder.encode_images, list(self.images), list(HOSTILE_FILES)),
            "text": (encoder.encode_text, list(self.texts), list(HOSTILE_TEXTS)),
        }
        return [sides[one] for one in encoder.card.modalities]

    def _agree(self, wanted: Any, found: Any, how: str) -> None:
        cosines = (wanted.astype(np.float64) * found.astype(np.float64)).sum(axis=1)
        assert (cosines > 1.0 - self.tolerance).all(), f"encoded otherwise {how}: cosines {cosines}"

    def _name(self) -> str:
        return self.name

    def _module(self) -> str:
        return type(self._encoder()).__module__
