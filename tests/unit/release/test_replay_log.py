"""Kept decisions: scores decided again, verdicts as they were taken, joined wherever they lie; what cannot be compared is told or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Decision, Outcome
from moderation.errors import LockError, SettingsError
from moderation.history.items import Fact, Target
from moderation.item import ContentItem
from moderation.policy.lock import Lock
from moderation.release.backtest import Backtest
from moderation.release.replay import AGAIN
from moderation.release.replay_log import ANOTHER, FOREIGN, NOT_JUDGED, NOT_REPEATED, ONE_ONLY
from tests.fakes import FakeEncoder, action, item, lock, picture
from tests.unit.release.replays import decide, from_log, from_vectors, keep, log, policy

BEFORE = lock(actions=(action("remove", 0.9), action("review", 0.5)))
AFTER = lock(actions=(action("remove", 0.95), action("review", 0.3)))
THINGS = [item(picture(cosine), id=f"i{cosine}") for cosine in np.round(np.arange(-1.0, 1.01, 0.02), 2).tolist()]
THINGS.append(item(picture("no picture"), id="broken"))
FACTS = {
    one.id: Fact(one.id, f"c{place // 2}", None, {"surface": "ab"[place % 2]}, {"weapons": Target(place % 3 == 0)})
    for place, one in enumerate(THINGS)
}


def same(one: Backtest, other: Backtest) -> None:
    """Both say the same of the items, wherever from."""
    assert one.compared == other.compared
    assert one.after.loads == other.after.loads
    assert one.after.rates == other.after.rates
    assert (one.before and one.before.loads) == (other.before and other.before.loads)


@pytest.fixture
def told(tmp_path: Path) -> Backtest:
    """What kept vectors say of both builds."""
    return from_vectors(keep(tmp_path / "vectors", THINGS, FACTS), BEFORE, AFTER, policy(tmp_path))


def test_a_changed_threshold_on_scores_is_that_on_vectors(tmp_path: Path, told: Backtest) -> None:
    path = log(tmp_path / "log" / "one.parquet", decide(BEFORE, THINGS, status="live"), FACTS)
    found = from_log([path], BEFORE, AFTER, policy(tmp_path))
    assert found.source == "scores"
    assert found.skipped == {}
    assert found.compared.overall.changed.hits == 8
    assert found.before is not None
    assert (found.before.statuses, found.after.statuses) == ({"live": len(THINGS)}, {})
    same(found, told)


def test_a_shadow_beside_the_live_build_is_compared_as_both_decided(tmp_path: Path, told: Backtest) -> None:
    live, shadow = decide(BEFORE, THINGS, status="live"), decide(AFTER, THINGS, status="shadow")
    folder = tmp_path / "log"
    log(folder / "live.parquet", live, FACTS)
    log(folder / "shadow-1.parquet", shadow[::-1][:40])
    log(folder / "shadow-2.parquet", shadow[::-1][40:])
    apart = from_log([folder], BEFORE, AFTER, policy(tmp_path))
    both = [replace(one, verdicts=(*one.verdicts, *other.verdicts)) for one, other in zip(live, shadow, strict=True)]
    together = from_log([log(tmp_path / "together.parquet", both, FACTS)], BEFORE, AFTER, policy(tmp_path))
    for found in (apart, together):
        assert (found.source, found.skipped) == ("verdicts", {})
        assert found.before is not None
        assert (found.before.statuses, found.after.statuses) == ({"live": len(THINGS)}, {"shadow": len(THINGS)})
        assert found.revisions == {BEFORE.revision: len(THINGS), AFTER.revision: len(THINGS)}
        same(found, told)


def test_one_build_alone_is_told_beside_no_build(tmp_path: Path) -> None:
    path = log(tmp_path / "one.parquet", decide(AFTER, THINGS), FACTS)
    found = from_log([path], None, AFTER, policy(tmp_path))
    same(found, from_vectors(keep(tmp_path / "vectors", THINGS, FACTS), None, AFTER, policy(tmp_path)))
    assert found.before is None


@given(
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_every_item_that_both_judged_is_compared_once(rows: list[tuple[int, bool]], sizes: list[int]) -> None:
    """Verdicts of both builds in any order, in files of any size, items again and again."""
    import tempfile

    decided = {
        first: {one.item_id: one for one in decide(build, THINGS[:31])}
        for first, build in ((True, BEFORE), (False, AFTER))
    }
    made = [decided[first][THINGS[place].id] for place, first in rows]
    with tempfile.TemporaryDirectory() as folder:
        own, at = policy(Path(folder)), 0
        for number, size in enumerate([*sizes, len(rows) + 1]):
            if made[at : at + size]:
                log(Path(folder) / "log" / f"{number}.parquet", made[at : at + size])
            at += size
        judged = {first: {place for place, one in rows if one is first} for first in (True, False)}
        if not all(judged.values()):
            return
        found = from_log([Path(folder) / "log"], BEFORE, AFTER, own)
    assert found.compared.items == len(judged[True] & judged[False])
    assert found.skipped.get(ONE_ONLY, 0) == len(judged[True] ^ judged[False])
    assert found.skipped.get(AGAIN, 0) == len(rows) - len(judged[True]) - len(judged[False])


def changed(decision: Decision, **verdict: Any) -> Decision:
    return replace(decision, verdicts=tuple(replace(one, **verdict) for one in decision.verdicts))


def test_what_the_score_alone_does_not_explain_is_left_out_with_its_reason(tmp_path: Path) -> None:
    decided = decide(BEFORE, THINGS)
    high, low, middle, broken = (
        next(one for one in decided if one.item_id == name) for name in ("i1.0", "i-1.0", "i0.7", "broken")
    )
    rows = [
        high, replace(high), changed(replace(low, item_id="capped"), score=0.97, outcome=Outcome.REVIEW, action="review"),
        replace(low, item_id="silent", verdicts=()), changed(replace(low, item_id="old"), revision="0000"),
        replace(low, item_id="foreign", encoders={"image": "other/fake"}), changed(replace(middle, item_id="range"), score=0.99), broken, low,
    ]  # fmt: skip
    found = from_log([log(tmp_path / "one.parquet", rows)], BEFORE, AFTER, policy(tmp_path))
    assert found.skipped == {AGAIN: 1, NOT_REPEATED: 2, NOT_JUDGED: 1, ANOTHER: 1, FOREIGN: 1}
    assert found.compared.items == 3
    assert found.revisions == {"0000": 1, BEFORE.revision: 7}
    assert found.compared.matrix["error"]["error"] == 1
    assert any("2 revisions" in one for one in found.limits)


def test_an_uncertified_build_leaves_scores_to_try_thresholds_on(tmp_path: Path) -> None:
    draft = lock(actions=(action("review", None),))
    path = log(tmp_path / "one.parquet", decide(draft, THINGS), FACTS)
    found = from_log([path], draft, AFTER, policy(tmp_path))
    expected = from_vectors(keep(tmp_path / "vectors", THINGS, FACTS), None, AFTER, policy(tmp_path))
    assert found.after.loads == expected.after.loads
    assert found.compared.matrix["error"]["nothing"] > 0


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (None, AFTER, r"made under revisions .*; --lock is .*: give the lock that they were made under as --before"),
        (AFTER, BEFORE, r"; --before is .*: give the lock that they were made under"),
        (
            BEFORE,
            replace(AFTER, arrays={**AFTER.arrays, "gain": np.full(2, 2.0)}),
            r"differs from .* in the classifier.*--vectors",
        ),
        (BEFORE, replace(AFTER, level="L1"), r"in the classifier"),
        (BEFORE, replace(AFTER, surfaces=("chat",)), r"in surfaces, so kept scores say nothing"),
        (BEFORE, replace(AFTER, detectors=("keywords",)), r"in detectors"),
    ],
)
def test_what_kept_scores_cannot_answer_is_refused_with_what_to_do(
    tmp_path: Path, before: Lock | None, after: Lock, says: str
) -> None:
    path = log(tmp_path / "one.parquet", decide(BEFORE, THINGS[:3]))
    with pytest.raises(LockError, match=says):
        from_log([path], before, after, policy(tmp_path))


def test_a_log_of_other_policies_has_no_revision(tmp_path: Path) -> None:
    path = log(tmp_path / "one.parquet", decide(lock("fire"), THINGS[:3]))
    with pytest.raises(LockError, match="under revisions of none"):
        from_log([path], BEFORE, AFTER, policy(tmp_path))


def test_actions_that_the_settings_do_not_name_are_refused(tmp_path: Path) -> None:
    path = log(tmp_path / "one.parquet", [changed(one, action="ban") for one in decide(AFTER, THINGS[-3:])])
    with pytest.raises(SettingsError, match=r"ask for 'ban'; expected one of allow"):
        from_log([path], None, AFTER, policy(tmp_path))


def test_scores_from_another_numeric_class_need_its_epsilon(tmp_path: Path) -> None:
    other = FakeEncoder(numeric="other")
    things: list[ContentItem] = THINGS[60:]
    path = log(tmp_path / "one.parquet", decide(BEFORE, things, encoder=other))
    with pytest.raises(LockError, match="encoded on other"):
        from_log([path], BEFORE, AFTER, policy(tmp_path))
    found = from_log([path], BEFORE, AFTER, policy(tmp_path), measure=lambda _lock, _numeric: 0.0)
    assert set(found.numeric) == {"other"}
