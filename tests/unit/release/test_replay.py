"""Kept vectors decided again are decided as the real pipeline decides: parts, scopes, errors, ε, any head, any cuts."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation.errors import LockError
from moderation.item import ContentItem, Modality, Part
from moderation.policy.lock import Lock, LockedReader
from moderation.release.comparison import ERROR, NOTHING, OUT_OF_SCOPE, bands_of
from moderation.release.replay import AGAIN, NEAR, TOO_MANY, Trial, replay_vectors
from moderation.rollout.selftest import measure_epsilon
from tests.fakes import ACTIONS, FakeEncoder, action, at, item, lock, picture
from tests.unit.release.replays import decide, from_vectors, keep, policy

BANDS = bands_of(ACTIONS)
OTHER = FakeEncoder(numeric="other", jitter=-0.0008)

cosines = st.integers(-100, 100).map(lambda number: number / 100)
contents = (
    st.builds(picture, cosines)
    | st.builds(lambda cosine: Part.text(str(cosine)), cosines)
    | st.just(picture("no picture"))
)
attributes = st.fixed_dictionaries(
    {},
    optional={"surface": st.sampled_from(["listing", "chat", ""]), "language": st.sampled_from(["en", "de", "EN-gb"])},
)
items = st.lists(st.tuples(st.lists(contents, min_size=1, max_size=3), attributes), min_size=1, max_size=8).map(
    lambda found: [ContentItem(str(place), tuple(parts), known) for place, (parts, known) in enumerate(found)]
)


@st.composite
def locks(draw: Any) -> Lock:
    """Any cuts, scope, number of parts and head over the stand-in encoder; cuts near the scores of some cosines too."""
    scores = st.integers(0, 1000).map(lambda number: number / 1000)
    cuts = draw(st.lists(st.builds(action, st.sampled_from(ACTIONS[1:]), st.none() | scores), min_size=1, max_size=3))
    base = lock()
    numbers = np.array(
        [
            draw(st.sampled_from([2.0, 10.0])),
            draw(st.sampled_from([0.0, 0.4])),
            draw(st.sampled_from([0.1, 0.25])),
            0.0,
            0.0,
        ]
    )
    return replace(
        base,
        actions=(*cuts, action("review", draw(scores))),
        arrays={**base.arrays, "numbers": numbers},
        modalities=draw(st.sampled_from([(Modality.IMAGE,), (Modality.TEXT,), (Modality.IMAGE, Modality.TEXT)])),
        surfaces=draw(st.sampled_from([(), ("listing",)])),
        languages=draw(st.sampled_from([(), ("en",)])),
        max_parts=draw(st.integers(0, 3)),
        on_error=draw(st.sampled_from(ACTIONS)),
    )


def bands(build: Lock, things: list[ContentItem], encoder: FakeEncoder | None = None) -> list[tuple[str, str]]:
    """The band and the action that the pipeline gives each item."""
    found = []
    for decision in decide(build, things, encoder=encoder):
        if not decision.verdicts:
            found.append((OUT_OF_SCOPE, ACTIONS[0]))
            continue
        (verdict,) = decision.verdicts
        band = ERROR if verdict.error else (verdict.action or NOTHING)
        found.append((band, verdict.action or ACTIONS[0]))
    return found


def replayed(build: Lock, things: list[ContentItem], encoder: FakeEncoder | None = None) -> list[tuple[str, str]]:
    """The same from kept vectors."""
    with tempfile.TemporaryDirectory() as folder:
        keep(Path(folder), things, encoder=encoder)
        measure = (lambda one, _numeric: measure_epsilon(one, encoder)) if encoder else None
        trial = Trial(None, build, ACTIONS, **({"measure": measure} if measure else {}))
        (chunk,) = replay_vectors([Path(folder)], trial)
    (side,) = chunk.sides
    return [(BANDS[band], ACTIONS[force]) for band, force in zip(side.band, side.force, strict=True)]


@settings(max_examples=150)
@given(locks(), items)
def test_kept_vectors_are_decided_as_the_pipeline_decides(build: Lock, things: list[ContentItem]) -> None:
    assert replayed(build, things) == bands(build, things)


@given(locks(), items)
def test_and_so_they_are_on_another_numeric_class_with_its_epsilon(build: Lock, things: list[ContentItem]) -> None:
    assert replayed(build, things, OTHER) == bands(build, things, OTHER)


def test_scores_and_phrases_are_those_of_the_highest_part(tmp_path: Path) -> None:
    build = replace(lock(), phrases=("one", "other"), arrays={
        **lock().arrays, "violating": np.stack([at(1.0), at(-1.0)]).astype(np.float32), "gain": np.ones(3), "offset": np.zeros(3),
        "golden": np.stack([at(1.0), at(-1.0)]).astype(np.float16),
    })  # fmt: skip
    things = [item(picture(0.3), picture(-0.9), picture(0.5), id="a"), item(picture(0.8), id="b")]
    (chunk,) = replay_vectors([keep(tmp_path, things)], Trial(None, build, ACTIONS))
    (side,) = chunk.sides
    for place, decision in enumerate(decide(build, things)):
        assert side.score[place] == decision.verdicts[0].score
        assert side.concept.names[side.concept.codes[place]] == decision.verdicts[0].concept


def test_the_same_item_again_counts_once_and_is_told(tmp_path: Path) -> None:
    keep(tmp_path / "one", [item(picture(0.9), id="a"), item(picture(0.9), id="b"), item(picture(0.1), id="a")])
    keep(tmp_path / "two", [item(picture(0.9), id="b"), item(picture(0.9), id="c")])
    (tmp_path / "two" / "kept.parquet").rename(tmp_path / "one" / "more.parquet")
    found = from_vectors(tmp_path / "one", None, lock(), policy(tmp_path))
    assert found.compared.items == 3
    assert found.skipped == {AGAIN: 2}
    assert found.compared.overall.changed.hits == 3


def test_what_caution_takes_back_is_counted(tmp_path: Path) -> None:
    folder = keep(tmp_path, [item(picture(0.95), picture(0.1), picture(0.1), id="a"), item(picture(0.95), id="b")])
    found = from_vectors(folder, None, replace(lock(), max_parts=2), policy(tmp_path))
    assert found.capped == {TOO_MANY: 1}
    near = keep(tmp_path / "other", [item(picture(0.9), id="a"), item(picture(0.2), id="b")], encoder=OTHER)
    # The cut lies where one item's score does, within the ε that is measured.
    (score,) = [one.verdicts[0].score for one in decide(lock(), [item(picture(0.8992))])]
    build = lock(actions=(action("remove", score),))
    found = from_vectors(near, None, build, policy(tmp_path), measure=lambda one, _numeric: measure_epsilon(one, OTHER))
    assert found.capped == {NEAR: 1}
    assert found.numeric["other"][build.revision] == measure_epsilon(build, OTHER) > 0
    assert any("numeric class" in one for one in found.limits)


def test_what_vectors_cannot_answer_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder, own = keep(tmp_path, [item(picture(0.9))]), policy(tmp_path)
    with pytest.raises(LockError, match=r"also asks keywords.*--decisions"):
        from_vectors(folder, None, lock(detectors=("keywords",)), own)
    with pytest.raises(LockError, match=r"with what tiles derived from parts.*--decisions"):
        from_vectors(folder, None, lock(readers=(LockedReader("tiles", "1", 9),)), own)
    with pytest.raises(LockError, match=r"encoders other and 0123456789abcdef.*policy diff"):
        from_vectors(folder, lock(encoder_identity="other"), lock(), own)
    with pytest.raises(LockError, match=r"built on fake.*encoded on other.*compile and certify it there"):
        from_vectors(keep(tmp_path / "other", [item(picture(0.9))], encoder=OTHER), None, lock(), own)
    with pytest.raises(LockError, match="unknown action 'ban'"):
        from_vectors(folder, None, lock(actions=(action("ban", 0.5),)), own)
