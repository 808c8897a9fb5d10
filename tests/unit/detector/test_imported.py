"""Third parties' heads: read as plain arrays only, bound to one encoder, and saying of real photographs what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from moderation import assemble
from moderation.decision import Abstention, Score
from moderation.detector.base import DetectionBatch
from moderation.detector.imported import import_detector
from moderation.detector.linear import ImportedDetector, LinearHead, PromptHead
from moderation.detector.steepness import stated_steepness
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.errors import DetectorError, LockError, PluginError
from moderation.item import Part
from moderation.plugin.brought import PluginState
from moderation.plugin_sections import HeadSettings
from moderation.settings import Settings
from tests import fakes, recordings

WEIGHT = np.arange(8.0)[None]


def settings(path: Path, **changes: Any) -> HeadSettings:
    values = {"kind": "linear", "path": str(path), "encoder": "fake", "bias": "bias"}
    return HeadSettings.model_validate({**values, **changes})


def stored(path: Path, **arrays: np.ndarray) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        path.write_bytes(safetensors.save(arrays))
    return path


def batch(vectors: np.ndarray) -> DetectionBatch:
    return DetectionBatch(tuple(Part.image(str(at).encode()) for at in range(len(vectors))), vectors.astype(np.float16))


@pytest.mark.parametrize("name", ["head.npz", "head.safetensors"])
def test_a_linear_head_scores_as_its_numbers_say(name: str, tmp_path: Path) -> None:
    path = stored(tmp_path / name, weight=WEIGHT, bias=np.array([-3.0]))
    axes = batch(np.eye(8)[[0, 3, 7]])
    plain = import_detector("taste", settings(path)).detect(axes)
    assert [one[0].value for one in plain] == pytest.approx(1 / (1 + np.exp([3.0, 0.0, -4.0])), abs=1e-6)
    turned = import_detector("taste", settings(path, span=(4.0, -3.0), label="dull")).detect(axes)
    assert [(one[0].label, one[0].value) for one in turned] == [("dull", 1.0), ("dull", 0.571429), ("dull", 0.0)]


def test_prompts_of_any_length_share_one_softmax(tmp_path: Path) -> None:
    path = stored(tmp_path / "head.npz", prompts=np.eye(8)[:2] * [[5.0], [0.5]])
    detector = import_detector("violence", settings(path, kind="prompts", bias="", scale=10.0))
    vectors = np.stack([fakes.at(0.6), fakes.at(0.8), fakes.at(np.sqrt(0.5))])
    values = [one[0].value for one in detector.detect(batch(vectors))]
    assert values == pytest.approx([1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0)), 0.5], abs=2e-3)


def test_a_score_does_not_depend_on_its_company_and_unsound_vectors_are_abstentions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = stored(tmp_path / "head.npz", weight=rng.normal(size=512), bias=np.zeros(1))
    detector = import_detector("taste", settings(path))
    raw = rng.normal(size=(70, 512))
    vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    vectors[5] = np.nan
    together = detector.detect(batch(vectors))
    alone = [detector.detect(batch(one[None]))[0] for one in vectors]
    assert together[:5] + together[6:] == (*alone[:5], *detector.detect(batch(vectors[6:])))
    assert isinstance(together[5], Abstention)


def heads(rng: np.random.Generator) -> list[LinearHead | PromptHead]:
    low, width = rng.normal(), rng.uniform(0.1, 20.0) * rng.choice([-1.0, 1.0])
    weight = rng.normal(size=16) * rng.uniform(0.1, 30.0)
    return [
        LinearHead(weight, rng.normal()),
        LinearHead(weight, rng.normal(), (low, low + width)),
        PromptHead(rng.normal(size=(rng.integers(2, 6), 16)), risky=1, scale=rng.uniform(0.5, 100.0)),
    ]


def steepness(head: LinearHead | PromptHead) -> float:
    stated = stated_steepness(ImportedDetector("taste", ("taste",), frozenset(), head, "fake"))
    assert stated is not None
    return stated


@given(seed=st.integers(0, 10_000))
def test_no_score_of_a_third_partys_head_moves_further_than_its_steepness_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for head in heads(rng):
        ends = rng.normal(size=(2, 50, 16))
        start, far = ends / np.linalg.norm(ends, axis=2, keepdims=True)
        for share in (1e-3, 0.1, 1.0):
            stop = (1 - share) * start + share * far
            moved = np.abs(head.score(start) - head.score(stop))
            # Cosines are of vectors as they are: those a little shorter than 1 move less.
            assert (moved <= steepness(head) * np.linalg.norm(start - stop, axis=1) * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize(
    ("head", "across"),
    [
        (LinearHead(np.array([3.0, 4.0]), 0.0), [0.6, 0.8]),
        (LinearHead(np.array([3.0, 4.0]), 0.0, (9.0, -11.0)), [0.6, 0.8]),
        (PromptHead(np.eye(2) * [[5.0], [0.5]], scale=10.0), [-1.0, 1.0]),
    ],
)
def test_the_steepness_is_reached(head: LinearHead | PromptHead, across: list[float]) -> None:
    step = 1e-3 * np.array(across) / np.linalg.norm(across)
    moved = abs(head.score(step[None])[0] - head.score(-step[None])[0])
    assert moved == pytest.approx(2e-3 * steepness(head), rel=1e-4)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    np.savez(path, weight=np.array([Evil()], dtype=object), bias=np.zeros(1))
    with pytest.raises(DetectorError, match="plain arrays"):
        import_detector("taste", settings(path))
    for name in ("head.pt", "head.pkl", "head.npy"):
        with pytest.raises(DetectorError, match=r"expected a \.npz or \.safetensors"):
            import_detector("taste", settings(tmp_path / name))


@pytest.mark.parametrize(
    ("arrays", "changes", "expected"),
    [
        ({"other": WEIGHT}, {}, "found other"),
        ({"weight": np.zeros((2, 8)), "bias": np.zeros(1)}, {}, "one row"),
        ({"weight": WEIGHT, "bias": np.zeros(2)}, {}, "one bias"),
        ({"weight": np.full(8, np.inf), "bias": np.zeros(1)}, {}, "finite"),
        ({"weight": np.arange(8), "bias": np.zeros(1)}, {}, "floating"),
        ({"prompts": WEIGHT}, {"kind": "prompts"}, "two rows"),
        ({"prompts": np.eye(2)}, {"kind": "prompts", "risky": 2}, "risky = 2"),
        ({"prompts": np.zeros((2, 8))}, {"kind": "prompts"}, "direction"),
    ],
)
def test_arrays_that_make_no_head_are_refused(
    arrays: dict[str, np.ndarray], changes: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    path = stored(tmp_path / "head.npz", **arrays)
    with pytest.raises(DetectorError, match=expected):
        import_detector("taste", settings(path, **changes))


def running(path: Path, head: dict[str, Any]) -> Any:
    made = Settings.model_validate({"heads": {"taste": {"kind": "linear", "path": str(path), "bias": "bias", **head}}})
    embedders = {"default": Embedder(fakes.FakeEncoder(), MemoryCache(1_000_000))}
    return assemble.pipeline(made, [fakes.lock(detectors=("taste",))], embedders=embedders)


def test_a_policy_counts_a_head_that_the_settings_name(tmp_path: Path) -> None:
    path = stored(tmp_path / "head.npz", weight=np.eye(8)[1] * 9.0, bias=np.zeros(1))
    decided = running(path, {"encoder": "fake"}).decide([fakes.item(fakes.picture(0.1))])[0]
    assert decided.verdicts[0].detector == "taste"
    for named in ("0123456789abcdef", "fake"):
        assert running(path, {"encoder": named})


def test_a_head_of_another_encoder_or_width_is_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "head.npz", weight=np.ones(8), bias=np.zeros(1))
    with pytest.raises(LockError, match=r"made for encoder 'ViT-B-16', 8 wide; the policy's is 'fake'"):
        running(path, {"encoder": "ViT-B-16"})
    wide = stored(tmp_path / "wide.npz", weight=np.ones(9), bias=np.zeros(1))
    with pytest.raises(LockError, match="9 wide"):
        running(wide, {"encoder": "fake"})
    with pytest.raises(DetectorError, match="expected float16"):
        import_detector("taste", settings(wide)).detect(batch(np.eye(8)))


def test_a_head_that_cannot_be_read_is_a_record_and_refuses_who_needs_it(tmp_path: Path) -> None:
    head = {"kind": "linear", "path": str(tmp_path / "none.npz"), "encoder": "fake"}
    known = assemble.plugins(Settings.model_validate({"heads": {"taste": head}}))
    (record,) = [one for one in known.records if one.id == "heads.taste"]
    assert record.state is PluginState.BROKEN
    with pytest.raises(PluginError, match=r"none\.npz cannot be read"):
        known.detector("taste", needed_by="policy 'weapons'")


REAL = {
    "aesthetic": (
        "laion_aesthetic_linear.npz",
        {"array": "vit_b_32_weight", "bias": "vit_b_32_bias", "span": (10.0, 1.0)},
    ),
    "violence": ("laion_violence_prompt_vectors.npz", {"kind": "prompts", "array": "vit_b_32", "bias": ""}),
    "q16": ("q16_prompt_vectors.npz", {"kind": "prompts", "array": "vit_b_32", "bias": ""}),
}


@pytest.mark.needs_data
@pytest.mark.parametrize("name", REAL)
def test_genuine_heads_say_of_genuine_photographs_what_they_should(name: str, data: Path, tmp_path: Path) -> None:
    file, changes = REAL[name]
    detector = import_detector(name, settings(data / "heads" / file, encoder=recordings.B32, **changes))
    encoder = recordings.b32(data, tmp_path)
    vectors = encoder.encode_images(recordings.captions(data)[0]).vectors
    answers = detector.detect(batch(vectors))
    scores = np.array([one[0].value for one in answers if isinstance(one[0], Score)])
    raw = detector.head.raw(vectors)
    print(
        f"{name}: raw mean {raw.mean():.3f}, score mean {scores.mean():.3f}, {scores.min():.3f} to {scores.max():.3f}"
    )
    assert len(scores) == 100
    if name == "aesthetic":
        assert 5.0 < raw.mean() < 6.0  # the authors' own figure is about 5.5
    if name == "q16":
        assert (scores < 0.5).mean() > 0.8  # the second row is the inappropriate one
