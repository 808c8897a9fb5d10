"""Compiling: what is refused, which level is chosen, that nothing is random, and that controls are always told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderation.cli import lock_words
from moderation.compiler import controls as shuffling
from moderation.compiler.compile import compile_policy
from moderation.compiler.controls import make_controls
from moderation.compiler.levels import FOLDS, Measured
from moderation.compiler.phrases import embed_concepts, ensemble, templates
from moderation.detector.base import DetectionBatch
from moderation.detector.concept import ConceptDetector
from moderation.detector.head import Head
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.encoder.base import Encoded
from moderation.errors import CompileError, DataError
from moderation.item import Modality, Part
from moderation.policy.lock import Lock, lock_path, marks, read_lock, write_lock
from moderation.policy.manifest import TargetRow
from tests.unit.compiler.recorded import TableEncoder, clip_names, embedder, make_policy, row

VIOLATING, CONTRAST = ("pistol", "rifle", "sword"), ("water gun", "hammer", "camera")
TEXT = {"modalities": ("text",)}


def unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float16)


def made_table(*, named: float = 0.5, learnable: float = 0.0, alike: float = 0.0) -> dict[str, np.ndarray]:
    """Sixty weapons, as near to the violating phrases as `named` says, and 150 other things, as near as `alike`.

    `learnable` moves the weapons where no phrase points.
    """
    rng = np.random.default_rng(0)
    axis, hidden = np.eye(48)[:2]
    near = lambda *directions: unit(sum(directions) + 0.9 * rng.normal(size=48) / np.sqrt(48))  # noqa: E731
    table = {name: near(axis) for name in (*VIOLATING, "weapon")}
    table |= {name: near(np.eye(48)[2 + at]) for at, name in enumerate(CONTRAST)}
    table |= {f"arm {at}": near(named * axis, learnable * hidden) for at in range(60)}
    table |= {f"thing {at}": near(np.eye(48)[5 + at % 40], alike * axis) for at in range(150)}
    return table


def fit_rows(arms: int = 40, things: int = 60) -> list[object]:
    return [row(f"arm {at}", target=True) for at in range(arms)] + [
        row(f"thing {at}", target=False) for at in range(things)
    ]


BANK = [row(f"thing {at}", target=False) for at in range(100, 150)]


def compiled(table: dict[str, np.ndarray], **options: object) -> Lock:
    return compile_policy(make_policy(scope=TEXT), embedder(table), **options)


def separation(lock: Lock, table: dict[str, np.ndarray]) -> float:
    """The chance that a weapon kept out of the fit scores above a thing kept out."""
    head = Head.from_arrays(lock.level, lock.arrays)
    arms, things = (
        head.score(np.stack([table[f"{kind} {at}"] for at in span])).values
        for kind, span in (("arm", range(40, 60)), ("thing", range(60, 100)))
    )
    return float((arms[:, None] > things).mean())


def test_without_targets_the_level_is_l1_with_a_bank_and_l0_without() -> None:
    table = made_table()
    assert compiled(table).level == "L0"
    lock = compiled(table, background=BANK)
    assert lock.level == "L1"
    assert lock.evidence["background"]["benign"] == 50
    assert separation(lock, table) > 0.9
    values = (
        Head.from_arrays(lock.level, lock.arrays)
        .score(np.stack([table[f"thing {at}"] for at in range(100, 150)]))
        .values
    )
    assert np.median(values) < 0.2


def test_targets_that_the_text_cannot_tell_are_learned_at_l3() -> None:
    table = made_table(learnable=1.0, alike=0.5)  # the other things lie as near to the phrases as the weapons do
    low, high = compiled(table, background=BANK), compiled(table, background=BANK, fit=fit_rows())
    assert high.level == "L3"
    assert high.evidence["level"]["reason"].startswith("L3 beats L")
    measured = high.evidence["level"]["average_precision"]
    assert measured["L3"]["mean"] > measured["L1"]["mean"] + 0.1
    assert separation(high, table) > separation(low, table) + 0.1


def test_the_level_without_targets_is_kept_where_targets_add_nothing() -> None:
    lock = compiled(made_table(named=3.0), background=BANK, fit=fit_rows())  # the phrases rank every target right
    measured = lock.evidence["level"]["average_precision"]
    assert measured["L1"]["mean"] == pytest.approx(1.0)
    assert lock.level == "L1"
    assert lock.evidence["level"]["reason"].startswith("no other level beats")


def test_a_level_beats_another_by_more_than_a_standard_error() -> None:
    same = Measured(0.9, 0.01, (0.9, 0.92, 0.88, 0.9, 0.9))
    assert not same.beats(same)
    assert Measured(0.95, 0.01, (0.94, 0.96, 0.95, 0.95, 0.95)).beats(same)


def test_an_error_is_that_of_one_deal_however_often_it_is_dealt_anew() -> None:
    base, better = (0.5, 0.6, 0.5, 0.6, 0.5), (0.55, 0.65, 0.55, 0.7, 0.4)
    assert not Measured(0.57, 0.05, better).beats(Measured(0.54, 0.02, base))
    assert not Measured(0.57, 0.05, better * 9).beats(Measured(0.54, 0.02, base * 9))


def test_too_few_targets_stay_below_the_probe_and_say_so() -> None:
    lock = compiled(made_table(), background=BANK, fit=fit_rows(arms=5))
    assert lock.level == "L1"
    assert "5 violating clusters are too few" in lock.evidence["level"]["reason"]
    alone = compiled(made_table(), background=BANK, fit=fit_rows(arms=1))
    assert "1 violating cluster is too few" in alone.evidence["level"]["reason"]


def test_pictures_of_one_object_are_one_cluster() -> None:
    rows = [row(f"arm {at}", target=True, cluster=f"object {at % 4}") for at in range(40)]
    lock = compiled(made_table(), background=BANK, fit=[*rows, *fit_rows(arms=0)])
    assert "4 violating clusters are too few" in lock.evidence["level"]["reason"]
    assert lock.evidence["fit"]["violating"] == {"targets": 40, "clusters": 4}


@pytest.mark.parametrize("rows", [(), tuple(fit_rows())], ids=["no targets", "targets"])
def test_the_same_input_gives_the_same_lock(rows: tuple[object, ...], tmp_path: Path) -> None:
    table = made_table(learnable=0.5)
    first, second = (compiled(table, background=BANK, fit=rows) for _ in range(2))
    assert first.revision == second.revision
    write_lock(first, lock_path(tmp_path, "weapon"))
    assert read_lock(lock_path(tmp_path, "weapon")).revision == first.revision


class ReadsAnything(TableEncoder):
    """The table, and for every other text a direction of its own."""

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        others = (unit(np.random.default_rng(list(text.encode())).normal(size=48)) for text in texts)
        return Encoded(np.stack([self.table.get(text, other) for text, other in zip(texts, others, strict=True)]), {})


def controls(encoder: TableEncoder, *, fit: Sequence[object]) -> dict[str, Any]:
    made = compile_policy(make_policy(scope=TEXT), Embedder(encoder, MemoryCache(50_000_000)), background=BANK, fit=fit)
    return made.evidence["controls"]


def test_every_control_is_measured() -> None:
    told = controls(ReadsAnything(made_table(learnable=0.5)), fit=fit_rows())
    measured = told["average_precision"]
    assert "missing" not in told
    assert set(measured) == {"policy", "name_only", "random_words", "shuffled_targets"}
    assert max(measured["random_words"], measured["shuffled_targets"]) < measured["policy"]
    assert told["beaten"]["random_words"]


def test_the_name_stands_alone_against_the_same_contrast_and_random_words_are_as_many_as_the_phrases() -> None:
    policy, found = make_policy(scope=TEXT), Embedder(ReadsAnything(made_table()), MemoryCache(50_000_000))
    vectors = embed_concepts(policy, found)
    made = make_controls(policy, found, vectors, seed=0)
    assert not made.missing
    name, words = made.heads["name_only"], made.heads["random_words"]
    prompts = templates(policy.scope.modalities)
    np.testing.assert_array_equal(name.violating, ensemble(policy, found, prompts, ["weapon"]))
    np.testing.assert_array_equal(name.contrast, vectors.contrast)
    assert words.violating.shape == vectors.violating.shape
    assert words.contrast.shape == vectors.contrast.shape
    assert abs(words.contrast @ vectors.contrast.T).max() < 0.9


@pytest.mark.parametrize("rows", [(), tuple(fit_rows())], ids=["no targets", "targets"])
def test_a_control_that_cannot_be_made_is_null_with_its_reason(rows: tuple[object, ...]) -> None:
    told = controls(TableEncoder(made_table()), fit=rows)
    assert set(told["average_precision"]) == {"policy", "name_only", "random_words", "shuffled_targets"}
    assert {name for name, one in told["average_precision"].items() if one is None} == set(told["missing"])
    assert "cannot be encoded" in told["missing"]["random_words"]
    assert rows or told["missing"]["shuffled_targets"] == "there are no fit targets"


def test_what_the_lock_says_of_the_policy_and_the_encoder() -> None:
    table = made_table()
    policy = make_policy(scope={**TEXT, "surfaces": ("chat",), "languages": ("en",)})
    lock = compile_policy(policy, embedder(table))
    assert (lock.policy, lock.policy_hash, lock.phrases) == ("weapon", policy.content_hash, VIOLATING)
    assert (lock.encoder_identity, lock.encoder_numeric, lock.width) == ("ab" * 8, "table", 48)
    assert (lock.surfaces, lock.languages, lock.modalities) == (("chat",), ("en",), (Modality.TEXT,))
    assert [one.threshold for one in lock.actions] == [None, None]
    np.testing.assert_array_equal(lock.arrays["golden"], np.stack([table[one] for one in VIOLATING]))


@pytest.mark.parametrize(
    ("changes", "modalities", "message"),
    [
        ({"contrast": ()}, ("image", "text"), "no contrast phrase"),
        ({}, ("text",), "no image"),
        ({"scope": TEXT}, ("image",), "no text"),
        ({"scope": TEXT, "violating": ("pistol", "unheard of")}, ("image", "text"), "'unheard of' cannot be encoded"),
    ],
)
def test_what_cannot_be_compiled_is_refused(
    changes: dict[str, object], modalities: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CompileError, match=message):
        compile_policy(make_policy(**changes), embedder(made_table(), modalities=modalities))


def test_prompts_begin_with_the_bare_phrase_and_suit_the_content() -> None:
    assert templates((Modality.TEXT,))[0] == templates((Modality.IMAGE,))[0] == "{}"
    assert "a photo of {}" in templates((Modality.IMAGE,))
    assert "a photo of {}" not in templates((Modality.TEXT,))


@pytest.mark.needs_data
def test_genuine_clip_vectors_tell_weapons_from_1600_other_objects(data: Path) -> None:
    table = clip_names(data)
    arms = ["gun", "machine gun", "shotgun", "handgun", "weapon", "dagger", "spear", "cannon", "bow and arrow", "knife"]
    rest = [name for name in table if name not in {*arms, *VIOLATING, *CONTRAST}][::2]
    locks = {
        "L0": compile_policy(make_policy(scope=TEXT), embedder(table)),
        "L1": compile_policy(
            make_policy(scope=TEXT), embedder(table), background=[row(one, target=False) for one in rest[:200]]
        ),
    }
    found = {}
    for level, lock in locks.items():
        head = Head.from_arrays(lock.level, lock.arrays)
        violating = head.score(np.stack([table[one] for one in arms])).values
        benign = head.score(np.stack([table[one] for one in rest[200:]])).values
        found[level] = float((violating[:, None] > benign).mean())
        assert lock.level == level
    assert found["L0"] > 0.85
    assert found["L1"] > 0.93


def test_what_lint_never_lets_pass_is_not_compiled_from_python_either() -> None:
    policy = make_policy(violating=("nudity of a child",), scope=TEXT)
    with pytest.raises(CompileError, match="S001"):
        compile_policy(policy, embedder(made_table()))


def known_rows(arms: range = range(40, 48), things: range = range(60, 68)) -> list[TargetRow]:
    return [row(f"arm {at}", target=True) for at in arms] + [row(f"thing {at}", target=False) for at in things]


def test_exemplars_without_targets_make_l2_and_may_not_certify() -> None:
    table = made_table(learnable=1.0, alike=0.5)
    lock = compiled(table, background=BANK, exemplars=known_rows())
    assert lock.level == "L2"
    assert lock.evidence["level"]["affinity"] == {"weight": 0.25, "sharpness": 5.0}
    assert lock.evidence["exemplars"]["violating"] == {"targets": 8, "clusters": 8}
    assert set(marks([known_rows()[0].sha256], ["arm 40"])) <= set(lock.arrays["used"])
    assert Head.from_arrays(lock.level, lock.arrays).level == "L2"


def test_exemplars_that_are_fitted_on_too_are_refused() -> None:
    with pytest.raises(DataError, match="D007"):
        compiled(made_table(), fit=fit_rows(), exemplars=[row("arm 3", target=True)])


@pytest.mark.parametrize(
    ("scope", "reads", "warned"),
    [(("text",), ("image", "text"), True), (("image", "text"), ("image", "text"), True), (("text",), ("text",), False)],
)
def test_text_under_a_tower_that_learned_from_pictures_is_warned_of(
    scope: tuple[str, ...], reads: tuple[str, ...], warned: bool
) -> None:
    encoder = Embedder(MadePictures(made_table(), modalities=reads), MemoryCache(50_000_000))
    lock = compile_policy(make_policy(scope={"modalities": scope}), encoder)
    assert bool(lock.evidence["notes"]) == warned
    assert any(line.startswith("WARNING: texts are judged by") for line in lock_words.compiled(lock.evidence)) == warned
    assert not any("photo" in prompt for prompt in lock.evidence["templates"]) or "image" in scope


class MadePictures(TableEncoder):
    """The table, and one vector for every picture."""

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        return Encoded(np.stack([unit(np.ones(48)) for _ in images]), {})


EXPLAINED = make_policy(
    scope=TEXT,
    explainable=True,
    concepts={
        "violating": ({"id": "guns", "phrases": ("pistol", "rifle")}, {"id": "blades", "phrases": ("sword",)}),
        "contrast": ({"id": "toys", "phrases": ("water gun",)}, {"id": "rest", "phrases": ("hammer", "camera")}),
    },
)


def blades(seed: int = 0) -> dict[str, np.ndarray]:
    """Forty weapons that are blades alone, and 150 other things of which every third resembles a toy gun."""
    rng = np.random.default_rng(seed)
    axes = dict(zip((*VIOLATING, *CONTRAST, "weapon"), np.eye(48), strict=False))
    near = lambda *directions: unit(sum(directions) + 0.9 * rng.normal(size=48) / np.sqrt(48))  # noqa: E731
    table = {name: unit(axis) for name, axis in axes.items()}
    table |= {f"arm {at}": near(1.2 * axes["sword"]) for at in range(60)}
    table |= {f"thing {at}": near(np.eye(48)[8 + at % 40], (at % 3 == 0) * axes["water gun"]) for at in range(150)}
    return table


def explained(table: dict[str, np.ndarray], **options: object) -> Lock:
    return compile_policy(EXPLAINED, embedder(table), **{"background": BANK, "fit": fit_rows(), **options})  # type: ignore[arg-type]


def test_the_concept_that_the_targets_show_is_found_and_every_score_says_so(tmp_path: Path) -> None:
    table = blades()
    write_lock(explained(table), lock_path(tmp_path, "weapon"))
    lock = read_lock(lock_path(tmp_path, "weapon"))
    assert (lock.level, lock.concepts) == ("L5", ("guns", "guns", "blades", "toys", "rest", "rest"))
    raises = lock.evidence["level"]["weights"]["raises"]
    assert max(raises, key=raises.get) == "sword"
    kept_out = [f"arm {at}" for at in range(40, 60)]
    answers = ConceptDetector(lock).detect(
        DetectionBatch(tuple(map(Part.text, kept_out)), np.stack([table[one] for one in kept_out]))
    )
    for (score,) in answers:  # type: ignore[misc]
        assert score.concept == "sword"
        assert max(score.evidence, key=score.evidence.get) == "blades"
        assert score.value > 0.5


def test_what_it_costs_to_explain_is_told_in_words_and_in_values() -> None:
    lock = explained(made_table(learnable=1.0, alike=0.5))  # what targets show lies where no phrase points
    told = lock.evidence["level"]
    assert told["chosen"] == "L5"
    assert told["cost"]["instead_of"] == "L3"
    measured = told["average_precision"]
    assert told["cost"]["average_precision"] == pytest.approx(measured["L3"]["mean"] - measured["L5"]["mean"])
    lines = list(lock_words.compiled(lock.evidence))
    figures = ", ".join(f"{level} {measured[level]['mean']:.3f}" for level in ("L0", "L1", "L3", "L5"))
    assert f"average precision by level, cross-validated: {figures}" in lines
    cost = f"explaining decisions costs {told['cost']['average_precision']:.3f} of average precision against L3"
    assert any(line.startswith(cost) for line in lines)
    assert any(line.startswith("raises the score: ") for line in lines)
    assert any(line.startswith("lowers the score: ") for line in lines)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ((), "30 more violating and 30 more benign clusters of fit targets are needed"),
        (
            tuple(fit_rows(arms=12)),
            r"18 more violating clusters of fit targets are needed \(found 12 violating and 60 benign",
        ),
    ],
    ids=["no targets", "too few"],
)
def test_decisions_that_cannot_be_explained_yet_are_refused_with_what_is_missing(
    rows: tuple[object, ...], told: str
) -> None:
    with pytest.raises(CompileError, match=f"policy 'weapon': explainable: .*L5: {told}"):
        explained(made_table(), fit=rows)


def test_phrases_that_could_explain_nothing_are_refused() -> None:
    table = made_table(named=0.0)
    table |= {
        f"arm {at}": unit(table[f"arm {at}"] - np.eye(48)[0]) for at in range(60)
    }  # away from every violating phrase
    with pytest.raises(CompileError, match="no violating phrase lies nearer"):
        explained(table)


def test_an_explainable_policy_is_another_policy_and_the_same_input_gives_the_same_lock() -> None:
    assert EXPLAINED.content_hash != EXPLAINED.model_copy(update={"explainable": False}).content_hash
    assert explained(blades()).revision == explained(blades()).revision


@pytest.mark.parametrize("level", ["L0", "L1", "L2", "L3", "L5"])
def test_controls_are_told_at_every_level(level: str) -> None:
    table = made_table(learnable=1.0, alike=0.5)
    options: dict[str, Any] = {
        "L0": {},
        "L1": {"background": BANK},
        "L2": {"background": BANK, "exemplars": known_rows()},
        "L3": {"background": BANK, "fit": fit_rows()},
        "L5": {"background": BANK, "fit": fit_rows()},
    }[level]
    policy = make_policy(scope=TEXT, explainable=level == "L5")
    lock = compile_policy(policy, Embedder(ReadsAnything(table), MemoryCache(50_000_000)), **options)
    told = lock.evidence["controls"]["average_precision"]
    assert lock.level == level
    assert set(told) == {"policy", "name_only", "random_words", "shuffled_targets"}
    assert (told["shuffled_targets"] is not None) == (level in {"L3", "L5"})
    if level in {"L3", "L5"}:
        assert told["policy"] == lock.evidence["level"]["average_precision"][level]["mean"]
        assert told["shuffled_targets"] < told["policy"]


@pytest.mark.parametrize(
    ("explainable", "learns", "other"), [(True, "fit_bottleneck", "fit_probe"), (False, "fit_probe", "fit_bottleneck")]
)
def test_shuffled_targets_are_learned_by_what_learned_the_true_ones(
    explainable: bool, learns: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []
    learn = getattr(shuffling, learns)
    monkeypatch.setattr(shuffling, learns, lambda *given: fitted.append(1) or learn(*given))
    monkeypatch.delattr(shuffling, other)
    policy = make_policy(scope=TEXT, explainable=explainable)
    compile_policy(policy, embedder(made_table(learnable=1.0, alike=0.5)), background=BANK, fit=fit_rows())
    assert len(fitted) == 3 * FOLDS
