"""Recordings: what was stored comes back to the bit, all else is an error of its row, and another recording is another encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as safetensors

from moderation import assemble
from moderation.compiler.compile import compile_policy
from moderation.detector.base import DetectionBatch
from moderation.detector.concept import ConceptDetector
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.recorded import RecordedEncoder, load_recording, write_recording
from moderation.errors import CheckpointError, FingerprintMismatchError
from moderation.item import content_digest
from moderation.policy.lock import Lock
from moderation.policy.manifest import TargetRow
from moderation.settings import Settings
from moderation.training.evaluation.policy import auc
from tests import recordings
from tests.unit.compiler.recorded import make_policy

VECTORS = {f"text {at}": one for at, one in enumerate(np.random.default_rng(0).normal(size=(6, 12)))}
PICTURES = {b"one": np.arange(1.0, 13.0), b"two": -np.arange(1.0, 13.0)}


def made(folder: Path) -> RecordedEncoder:
    write_recording(folder / "made.safetensors", name="made", texts=VECTORS, images=PICTURES)
    return load_recording(folder / "made.safetensors")


def test_what_is_recorded_comes_back_and_nothing_else(tmp_path: Path) -> None:
    encoder = made(tmp_path)
    encoded = encoder.encode_text(["text 3", "text 7", "text 0"])
    unit = VECTORS["text 3"] / np.linalg.norm(VECTORS["text 3"])
    np.testing.assert_array_equal(encoded.vectors[0], unit.astype(np.float16))
    assert {row: error.reason for row, error in encoded.errors.items()} == {1: "not_recorded"}
    assert "text 7" not in str(encoded.errors[1])
    pictures = encoder.encode_images([b"two", b"text 3"])
    assert list(pictures.errors) == [1]
    assert encoder.encode_text([]).vectors.shape == (0, 12)
    assert (encoder.card.name, encoder.card.width, encoder.card.modalities) == ("made", 12, ("image", "text"))


def test_the_identity_is_the_recordings_content_in_any_order(tmp_path: Path) -> None:
    first = made(tmp_path).fingerprint
    write_recording(tmp_path / "b", name="made", texts=dict(reversed(VECTORS.items())), images=PICTURES)
    assert load_recording(tmp_path / "b").fingerprint == first
    write_recording(tmp_path / "b", name="made", texts={**VECTORS, "text 0": np.ones(12)}, images=PICTURES)
    assert load_recording(tmp_path / "b").fingerprint.identity != first.identity


def test_it_is_loaded_by_name_from_the_settings(tmp_path: Path) -> None:
    made(tmp_path)
    written = {"loader": "recorded", "checkpoint": str(tmp_path / "made.safetensors")}
    settings = Settings.model_validate({"encoders": {"default": written}})
    assert assemble.encoder(settings).card.name == "made"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text_vectors": np.zeros((6, 12), np.float16)}, "unit length"),
        ({"text_vectors": np.zeros((6, 11), np.float16)}, r"expected float16 \(6, 12\)"),
        ({"text_vectors": np.zeros((6, 12), np.float32)}, "float32"),
        ({"text_digests": np.zeros((6, 31), np.uint8)}, "text_vectors"),
        ({"image_vectors": None}, "image"),
    ],
)
def test_a_damaged_recording_is_refused(changes: dict[str, np.ndarray | None], expected: str, tmp_path: Path) -> None:
    card = made(tmp_path).card.model_dump_json(by_alias=True)
    arrays = safetensors.load_file(tmp_path / "made.safetensors") | changes
    kept = {name: one for name, one in arrays.items() if one is not None}
    (tmp_path / "bad").write_bytes(safetensors.save(kept, metadata={"card": card}))
    with pytest.raises(CheckpointError, match=expected):
        load_recording(tmp_path / "bad")


@pytest.mark.parametrize("metadata", [{}, {"card": "{}"}, None])
def test_a_file_without_a_card_is_refused(metadata: dict[str, str] | None, tmp_path: Path) -> None:
    content = b"x" if metadata is None else safetensors.save({"a": np.ones(1)}, metadata=metadata)
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"card|safetensors"):
        load_recording(tmp_path / "bad")


@pytest.mark.parametrize("vectors", [{}, {"a": np.zeros(3)}, {"a": np.ones(3), "b": np.ones(4)}])
def test_vectors_that_make_no_recording_are_refused(vectors: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recording"):
        write_recording(tmp_path / "bad", name="bad", texts=vectors)


DOGS = {
    "violating": ("a dog", "a puppy", "a bulldog", "a shepherd dog"),
    "contrast": ("a person", "a man", "a woman", "a bicycle", "a car", "a tree", "a horse", "a football"),
}
PEOPLE = {"violating": ("a man", "a woman", "a person", "a boy", "a girl"), "contrast": ("a dog", "a horse", "a tree")}


def lock_of(encoder: RecordedEncoder, phrases: dict[str, tuple[str, ...]]) -> Lock:
    known = {
        side: tuple(one for one in found if not encoder.encode_text([one]).errors) for side, found in phrases.items()
    }
    return compile_policy(make_policy(**known), Embedder(encoder, MemoryCache(50_000_000)))


@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("phrases", "words", "bound"),
    [
        (DOGS, {"dog", "dogs", "puppy"}, 0.9),
        (PEOPLE, {"man", "woman", "boy", "girl", "men", "people", "person", "child"}, 0.8),
    ],
)
def test_words_alone_separate_real_photographs_in_the_genuine_space(
    phrases: dict[str, tuple[str, ...]], words: set[str], bound: float, data: Path, tmp_path: Path
) -> None:
    encoder = recordings.b32(data, tmp_path)
    lock = lock_of(encoder, phrases)
    names, texts = recordings.captions(data)
    shown = np.array([sum(bool(words & set(one.lower().split())) for one in five) for five in texts])
    clear = (shown == 0) | (shown >= 3)  # where the people who described it agree
    encoded = encoder.encode_images([name for name, sure in zip(names, clear, strict=True) if sure])
    raw = Head.from_arrays(lock.level, lock.arrays).raw(encoded.vectors)
    found = auc(raw, shown[clear] > 0, [str(at) for at in range(len(raw))]).value
    print(f"AUC {found:.3f} on {len(raw)} photographs, {int((shown[clear] > 0).sum())} of them violating")
    assert lock.level == "L0"
    assert found > bound


@pytest.mark.needs_data
def test_real_photographs_are_judged_by_concepts_that_say_what_they_added(data: Path, tmp_path: Path) -> None:
    encoder = recordings.b32(data, tmp_path)
    names, texts = recordings.captions(data)
    words = {"man", "woman", "boy", "girl", "men", "women", "boys", "girls", "people", "person", "child", "children"}
    shown = [sum(bool(words & set(one.lower().split())) for one in five) for five in texts]
    rows = []
    for name, count in zip(names, shown, strict=True):
        path = tmp_path / name.decode()  # a recording knows a photograph by its name
        path.write_bytes(name)
        rows.append(TargetRow(path, None, content_digest(name), count >= 3, name.decode()))
    policy = make_policy(**PEOPLE, explainable=True)
    lock = compile_policy(policy, Embedder(encoder, MemoryCache(50_000_000)), fit=rows)
    measured = lock.evidence["level"]["average_precision"]
    print({level: round(one["mean"], 3) for level, one in measured.items()}, lock.evidence["level"]["weights"])
    assert lock.level == "L5"
    assert {"L0", "L3", "L5"} == set(measured)
    assert measured["L5"]["mean"] > 0.85
    assert measured["L5"]["mean"] > lock.evidence["controls"]["average_precision"]["shuffled_targets"] + 0.1
    seen = tuple(row.read() for row in rows)
    answers = ConceptDetector(lock).detect(DetectionBatch(seen, encoder.encode_images(names).vectors))
    for (score,) in answers:  # type: ignore[misc]
        assert score.concept in PEOPLE["violating"]
        assert score.evidence["arms"] >= 0.0 >= score.evidence.get("other", 0.0)


@pytest.mark.needs_data
def test_two_spaces_are_not_mixed_though_they_are_equally_wide(data: Path, tmp_path: Path) -> None:
    first, other = recordings.b32(data, tmp_path), recordings.b16(data, tmp_path)
    assert first.card.width == other.card.width
    lock = lock_of(first, {"violating": ("a dog",), "contrast": ("a person",)})
    with pytest.raises(FingerprintMismatchError):
        assemble.pipeline(Settings(), [lock], embedders={"default": Embedder(other, MemoryCache(1_000_000))})


@pytest.mark.needs_data
def test_an_ensemble_and_one_template_mean_the_same_things(data: Path, tmp_path: Path) -> None:
    stored = np.load(data / "clip_space" / "b16" / "text_cocostuff171_b16.npz", allow_pickle=False)
    ensemble, single = (stored[kind].astype(np.float64) for kind in ("ensemble", "single_template"))
    nearest = (single @ ensemble.T).argmax(axis=1)
    assert (nearest == np.arange(len(single))).mean() > 0.95
    kinds = [recordings.b16(data, tmp_path, kind=kind).fingerprint.identity for kind in ("ensemble", "single_template")]
    assert kinds[0] != kinds[1]
