from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder, EmbedderStats
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard, ImageCard, TextCard
from moderation.errors import EncoderError, ItemError
from moderation.item import Part
from tests.fakes import packed

WIDTH = 16
BOTH = EncoderCard(
    schema="encoder-card/v1", name="fake", modalities=("image", "text"), width=WIDTH, activation="gelu",
    image=ImageCard(size=8, mean=(0, 0, 0), std=(1, 1, 1)),
    text=TextCard(context_length=8, padding="longest", trim_exact=True),
)  # fmt: skip


class FakeEncoder:
    """A vector from a hash of the content; what begins with "bad" cannot be encoded. `nudge` stands for ε."""

    def __init__(self, card: EncoderCard = BOTH, *, nudge: float = 0.0, identity: str = "fake") -> None:
        self.card, self.nudge = card, nudge
        self.fingerprint = Fingerprint(identity, "torch-cpu-float32")
        self.seen: list[bytes] = []

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return self._encode(images, decode_seconds=0.25)

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        return self._encode([text.encode() for text in texts], decode_seconds=0.0)

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def _encode(self, contents: Sequence[bytes], *, decode_seconds: float) -> Encoded:
        self.seen += contents
        vectors = np.zeros((len(contents), WIDTH), dtype=np.float16)
        errors = {}
        for row, content in enumerate(contents):
            if content.startswith(b"bad"):
                errors[row] = ItemError("unsupported_input", content.decode())
                continue
            vector = np.random.default_rng(int(hashlib.sha256(content).hexdigest()[:8], 16)).normal(size=WIDTH)
            vectors[row] = vector / np.linalg.norm(vector) + self.nudge
        return Encoded(vectors, errors, decode_seconds)


def parts(*contents: str) -> list[Part]:
    return [Part.image(content.encode()) for content in contents]


def test_an_empty_batch() -> None:
    result = Embedder(FakeEncoder(), MemoryCache(10**6)).embed([])
    assert (result.vectors.shape, result.hits.shape, result.errors) == ((0, WIDTH), (0,), {})


def test_a_second_time_is_a_hit_with_the_same_bytes() -> None:
    encoder = FakeEncoder()
    embedder = Embedder(encoder, MemoryCache(10**6))
    first, second = embedder.embed(parts("a", "b")), embedder.embed(parts("b", "c", "a"))
    assert (first.hits.tolist(), second.hits.tolist()) == ([False, False], [True, False, True])
    assert second.vectors[[2, 0]].tobytes() == first.vectors.tobytes()
    assert encoder.seen == [b"a", b"b", b"c"]
    assert embedder.stats == EmbedderStats(hits=2, misses=3, damaged=0)


def test_what_stands_twice_is_encoded_once() -> None:
    encoder = FakeEncoder()
    result = Embedder(encoder, MemoryCache(0)).embed(parts("a", "b", "a", "a"))
    assert encoder.seen == [b"a", b"b"]
    assert result.vectors[[0, 2, 3]].tobytes() == result.vectors[0].tobytes() * 3
    assert not result.hits.any()


def test_a_picture_and_a_text_of_equal_bytes_are_two_things() -> None:
    encoder = FakeEncoder()
    embedder = Embedder(encoder, MemoryCache(10**6))
    embedder.embed([Part.image(b"a")])
    result = embedder.embed([Part.text("a"), Part.image(b"a")])
    assert result.hits.tolist() == [False, True]
    assert encoder.seen == [b"a", b"a"]


def test_errors_stand_at_their_rows_and_are_not_remembered() -> None:
    encoder = FakeEncoder()
    embedder = Embedder(encoder, MemoryCache(10**6))
    for _ in range(2):
        result = embedder.embed([*parts("bad 1", "a", "bad 1"), Part.text("bad 2"), Part.text("b")])
        assert {row: str(error) for row, error in result.errors.items()} == {
            0: "unsupported_input: bad 1", 2: "unsupported_input: bad 1", 3: "unsupported_input: bad 2",
        }  # fmt: skip
        assert not result.vectors[[0, 2, 3]].any()
        assert result.vectors[[1, 4]].any(axis=1).all()
    assert encoder.seen.count(b"bad 1") == 2


def test_text_that_is_not_utf8_is_an_error_of_its_row() -> None:
    part = Part(Part.text("x").modality, b"caf\xe9")
    result = Embedder(FakeEncoder(), MemoryCache(10**6)).embed([Part.text("a"), part, Part.text("b")])
    assert {row: error.reason for row, error in result.errors.items()} == {1: "unsupported_input"}
    assert result.vectors[[0, 2]].any(axis=1).all()


def test_a_modality_the_encoder_lacks_is_an_error_of_its_row() -> None:
    card = BOTH.model_copy(update={"modalities": ("text",), "image": None})
    result = Embedder(FakeEncoder(card), MemoryCache(10**6)).embed([Part.image(b"a"), Part.text("a")])
    assert {row: error.reason for row, error in result.errors.items()} == {0: "unsupported_modality"}


def test_a_damaged_value_is_a_counted_miss_and_is_replaced() -> None:
    cache = MemoryCache(10**6)
    embedder = Embedder(FakeEncoder(), cache)
    first = embedder.embed(parts("a"))
    key = embedder.key(parts("a")[0])
    (value,) = cache.get_many([key])
    assert value is not None
    cache.drop_many([key])
    cache.put_many({key: value[:-1] + bytes([value[-1] ^ 1])})
    again = embedder.embed(parts("a"))
    assert (again.hits.tolist(), embedder.stats.damaged) == ([False], 1)
    assert again.vectors.tobytes() == first.vectors.tobytes()
    assert embedder.embed(parts("a")).hits.tolist() == [True]


def test_where_another_worker_was_first_its_vector_is_used() -> None:
    """Two workers encode one picture in two bucket sizes; all that follows must read one of the two vectors."""

    class Racing(MemoryCache):
        def put_many(self, values: Mapping[str, bytes]) -> Mapping[str, bytes]:
            super().put_many({key: packed(other.encode_images([b"a"]).vectors[0]) for key in values})
            return super().put_many(values)

    other = FakeEncoder(nudge=1e-3)
    embedder = Embedder(FakeEncoder(), Racing(10**6))
    first, second = embedder.embed(parts("a")), embedder.embed(parts("a"))
    assert first.vectors.tobytes() == second.vectors.tobytes() == other.encode_images([b"a"]).vectors.tobytes()
    assert (first.hits.tolist(), second.hits.tolist()) == ([False], [True])


def test_tenants_prefixes_and_encoders_do_not_share() -> None:
    cache = MemoryCache(10**6)
    for embedder in (
        Embedder(FakeEncoder(), cache),
        Embedder(FakeEncoder(), cache, tenant="other"),
        Embedder(FakeEncoder(), cache, prefix="other"),
        Embedder(FakeEncoder(identity="other"), cache),
    ):
        assert embedder.embed(parts("a")).hits.tolist() == [False]
    assert len(cache) == 4


def test_time_is_split() -> None:
    result = Embedder(FakeEncoder(), MemoryCache(10**6)).embed(parts("a"))
    assert result.decode_seconds == 0.25
    hit = Embedder(FakeEncoder(), MemoryCache(10**6)).embed([])
    assert hit.decode_seconds == 0


class TroubledEncoder(FakeEncoder):
    """Raises on a batch that holds "boom", gives NaN for "nan", and a vector too many for a batch that holds "short"."""

    def _encode(self, contents: Sequence[bytes], *, decode_seconds: float) -> Encoded:
        if b"boom" in contents:
            raise RuntimeError("secret content")
        found = super()._encode(contents, decode_seconds=decode_seconds)
        if b"nan" in contents:
            found.vectors[contents.index(b"nan")] = np.nan
        if b"short" in contents:
            return Encoded(found.vectors[1:], found.errors, decode_seconds)
        return found


@pytest.mark.parametrize("poison", ["boom", "nan", "short"])
def test_an_encoder_at_fault_costs_the_part_it_fails_on_and_no_other(poison: str) -> None:
    batch = parts("one", "two", poison, "three", "four")
    result = Embedder(TroubledEncoder(), MemoryCache(10**6)).embed(batch)
    whole = Embedder(FakeEncoder(), MemoryCache(10**6)).embed(batch)
    assert [(row, error.reason) for row, error in result.errors.items()] == [(2, "encoder_error")]
    assert "secret" not in str(result.errors[2])
    assert np.array_equal(np.delete(result.vectors, 2, axis=0), np.delete(whole.vectors, 2, axis=0))
    assert not result.vectors[2].any()


def test_an_encoder_that_cannot_be_used_at_all_is_no_fault_of_a_part() -> None:
    class Gone(FakeEncoder):
        def _encode(self, contents: Sequence[bytes], *, decode_seconds: float) -> Encoded:
            raise EncoderError("the device is gone")

    with pytest.raises(EncoderError, match="device is gone"):
        Embedder(Gone(), MemoryCache(10**6)).embed(parts("one", "two"))


class Dead(FakeEncoder):
    """From its first failure on it can do nothing any more, by raising or by vectors of NaN."""

    def __init__(self, *, raises: bool) -> None:
        super().__init__()
        self._raises, self.dead = raises, True

    def _encode(self, contents: Sequence[bytes], *, decode_seconds: float) -> Encoded:
        if self.dead and self._raises:
            raise RuntimeError("device-side assert")
        found = super()._encode(contents, decode_seconds=decode_seconds)
        if self.dead:
            found.vectors[:] = np.nan
        return found


@pytest.mark.parametrize("contents", [("one",), ("one", "two")])
@pytest.mark.parametrize(("raises", "told"), [(True, "RuntimeError"), (False, "not finite")])
def test_an_encoder_that_fails_on_everything_is_itself_at_fault(
    contents: tuple[str, ...], *, raises: bool, told: str
) -> None:
    with pytest.raises(EncoderError, match=f"fails on everything: encoder_error: .*{told}"):
        Embedder(Dead(raises=raises), MemoryCache(10**6)).embed(parts(*contents))


@pytest.mark.parametrize("poison", ["boom", "nan", "short"])
def test_parts_that_the_encoder_fails_on_are_errors_also_where_nothing_else_is_in_the_batch(poison: str) -> None:
    several = [Part.text(poison), Part.image(poison.encode())]
    result = Embedder(TroubledEncoder(), MemoryCache(10**6)).embed(several)
    assert [error.reason for error in result.errors.values()] == ["encoder_error"] * 2


def test_an_encoder_may_raise_the_reason_itself() -> None:
    class Choosy(FakeEncoder):
        def _encode(self, contents: Sequence[bytes], *, decode_seconds: float) -> Encoded:
            if b"odd" in contents:
                raise ItemError("unsupported_input", "odd")
            return super()._encode(contents, decode_seconds=decode_seconds)

    result = Embedder(Choosy(), MemoryCache(10**6)).embed(parts("even", "odd"))
    assert [(row, error.reason) for row, error in result.errors.items()] == [(1, "unsupported_input")]
