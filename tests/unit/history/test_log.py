"""Kept decisions: a round trip of every field, columns for each build, and wrong lines and files told at their place."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation.decision import Decision, Outcome, Severity, Timing, Verdict
from moderation.errors import DataError
from moderation.history.items import UNKNOWN, Fact
from moderation.history.lines import read_lines
from moderation.history.log import read_decisions, read_log, revisions, write_decisions
from moderation.policy.columns import OUTCOMES
from tests.unit.history.kept import facts, ids, texts

numbers = st.floats(0.0, 1.0)
verdicts = st.builds(
    Verdict,
    policy=st.sampled_from(["fire", "weapons"]),
    version=texts,
    revision=st.sampled_from(["1", "2"]),
    status=st.sampled_from(["draft", "shadow", "live"]),
    outcome=st.sampled_from(Outcome),
    severity=st.sampled_from(Severity),
    action=st.none() | texts,
    score=st.none() | numbers,
    calibrated=st.none() | numbers,
    threshold=st.none() | numbers,
    margin=st.none() | numbers,
    concept=st.none() | texts,
    evidence=st.none() | st.dictionaries(texts, st.floats(-9.0, 9.0), max_size=3),
    region=st.none() | st.tuples(*[st.floats(0.0, 1.0)] * 4),
    part=st.none() | texts,
    detector=st.none() | texts,
    label=st.none() | texts,
    error=st.none() | texts,
    cause=st.none() | texts,
)
builds = st.lists(verdicts, max_size=4, unique_by=lambda one: (one.policy, one.revision))
decisions = st.builds(
    Decision,
    item_id=ids,
    decision_id=texts,
    action=texts,
    severity=st.sampled_from(Severity),
    proposed=texts,
    verdicts=builds.map(lambda found: tuple(sorted(found, key=lambda one: (one.policy, one.revision)))),
    encoders=st.dictionaries(texts, texts, max_size=2),
    timing=st.builds(Timing, numbers, numbers, numbers, numbers),
    cache_hit=st.booleans(),
    detectors=st.dictionaries(texts, texts, max_size=2),
)


@given(st.lists(st.tuples(decisions, facts), min_size=1, max_size=6))
def test_every_field_comes_back_and_the_same_decisions_are_the_same_bytes(rows: list[tuple[Decision, Fact]]) -> None:
    made = [one for one, _ in rows]
    known = [Fact(one.item_id, fact.cluster, fact.time, fact.attributes, fact.targets) for one, fact in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one.parquet"
        write_decisions(path, made, known)
        first = path.read_bytes()
        assert read_decisions(path) == list(zip(made, known, strict=True))
        write_decisions(path, made, known)
        assert path.read_bytes() == first


def test_a_file_from_before_detectors_had_revisions_is_read(tmp_path: Path) -> None:
    path = tmp_path / "one.parquet"
    write_decisions(path, MADE, [Fact(one.item_id) for one in MADE])
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["detectors"]), path)
    assert [one for one, _ in read_decisions(path)] == MADE


@given(st.lists(decisions, min_size=1, max_size=4))
def test_lines_of_json_come_back(made: list[Decision]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "d.jsonl"
        path.write_text("\n\n".join(json.dumps(one.to_dict()) for one in made), encoding="utf-8")
        assert [one for _, one in read_lines(path)] == made
        assert [number for number, _ in read_lines(path)] == list(range(1, 2 * len(made), 2))


def verdict(revision: str, outcome: Outcome, **values: Any) -> Verdict:
    return Verdict("weapons", "1.0.0", revision, values.pop("status", "live"), outcome, Severity.LOW, **values)


def decision(item: str, *found: Verdict, **encoders: str) -> Decision:
    return Decision(item, "d", "allow", Severity.LOW, "allow", found, encoders)


MADE = [
    decision(
        "a",
        verdict("1", Outcome.MATCH, score=0.25, action="remove", concept="a gun"),
        verdict("2", Outcome.NO_MATCH, status="shadow", score=0.75),
        image="id/cpu",
    ),
    decision("b"),
    decision("c", verdict("1", Outcome.ERROR, error="timeout"), image="other/cpu", text="id/gpu id2/cpu"),
    decision("d", verdict("2", Outcome.REVIEW, score=0.5, action="review"), image="other/cpu"),
]


def test_each_build_has_its_own_columns(tmp_path: Path) -> None:
    write_decisions(tmp_path / "one.parquet", MADE, [Fact(one.item_id) for one in MADE])
    assert pq.read_schema(tmp_path / "one.parquet").names[-2:] == ["weapons@1", "weapons@2"]
    assert revisions([tmp_path], "weapons") == ("1", "2")
    assert revisions([tmp_path], "weap") == ()
    (batch,) = read_log([tmp_path], "weapons", identity="id")
    live, shadow, nobody = batch.of("1"), batch.of("2"), batch.of("3")
    assert live.there.tolist() == [True, False, True, False]
    assert shadow.there.tolist() == [True, False, False, True]
    assert not nobody.there.any()
    assert np.array_equal(live.score, [0.25, np.nan, np.nan, np.nan], equal_nan=True)
    assert [OUTCOMES[place] for place in live.outcome[live.there]] == [Outcome.MATCH, Outcome.ERROR]
    assert [live.action.names[code] if code != UNKNOWN else None for code in live.action.codes] == [
        "remove",
        None,
        None,
        None,
    ]
    assert (shadow.status.names[shadow.status.codes[0]], live.concept.names) == ("shadow", ("a gun",))
    assert [batch.numeric.names[code] if code != UNKNOWN else None for code in batch.numeric.codes] == [
        "cpu",
        None,
        "gpu",
        None,
    ]
    assert batch.foreign.tolist() == [False, False, False, True]


def test_other_files_of_a_log_may_have_other_builds(tmp_path: Path) -> None:
    write_decisions(tmp_path / "one.parquet", MADE[:1], [Fact("a")])
    write_decisions(tmp_path / "two.parquet", MADE[1:2], [Fact("b")])
    assert revisions([tmp_path], "weapons") == ("1", "2")
    assert [batch.of("1").there.tolist() for batch in read_log([tmp_path], "weapons", identity="id")] == [
        [True],
        [False],
    ]


GOOD = json.dumps(MADE[0].to_dict())


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "1", '"x"', "null", "{}", '{"item_id": "a"}', "\xff",
        GOOD.replace('"score": 0.25', '"score": "high"'), GOOD.replace('"score": 0.25', '"score": 1.25'),
        GOOD.replace('"score": 0.25', '"score": NaN'), GOOD.replace('"match"', '"perhaps"'),
        GOOD.replace('"item_id": "a"', '"item_id": ""'), GOOD.replace('"item_id": "a"', '"item_id": 7'),
        GOOD.replace('"weapons"', '"wea@pons"'), GOOD.replace('"cache_hit": false', '"cache_hit": 0'),
        GOOD.replace('"action": "remove"', '"action": ["remove"]'), GOOD.replace('"verdicts": [', '"verdicts": [7, '),
        GOOD.replace('"image": "id/cpu"', '"image": null'), GOOD.replace('"a gun"', r'"\ud800"'), GOOD.replace('"score": 0.25', f'"score": {10**400}'), GOOD.replace('"evidence": null', '"evidence": {"gun": "much"}'), GOOD.replace('"evidence": null', '"evidence": {"gun": NaN}'),
        GOOD.replace('"evidence": null', '"evidence": ["gun"]'), GOOD.replace('"region": null', '"region": [0, 0, 1]'),
        GOOD.replace('"region": null', '"region": [0, 0, 1, "1"]'), GOOD.replace('"region": null', '"region": [0, 0, 1, NaN]'), GOOD.replace('"region": null', '"region": 7'),
        "[" * 100_000, GOOD + " " * 1_000_001,
    ],
)  # fmt: skip
def test_a_line_that_is_no_decision_is_located(tmp_path: Path, line: str) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(f"{GOOD}\n{line}\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"d\.jsonl:2:1: D003: expected a decision as JSON"):
        list(read_lines(path))


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone-2.jsonl").touch()
    with pytest.raises(DataError, match=r"gone\.jsonl: D001: cannot be read: .*; did you mean '\S+/gone-2\.jsonl'\?$"):
        list(read_lines(tmp_path / "gone.jsonl"))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x"]), pa.array([1.0]), pa.array([{"score": 1.0}]),
        pa.array([{"status": "live", "outcome": "perhaps", "action": "a", "score": 1.0, "concept": "c", "error": "e"}]),
        pa.array([{"status": "live", "outcome": "match", "action": "a", "score": "high", "concept": "c", "error": "e"}]),
        pa.array([{"status": "live", "outcome": 7, "action": "a", "score": 1.0, "concept": "c", "error": "e"}]),
    ],
)  # fmt: skip
def test_verdicts_of_another_make_are_refused_by_column(tmp_path: Path, column: Any) -> None:
    write_decisions(tmp_path / "one.parquet", [decision("a")], [Fact("a")])
    table = pq.read_table(tmp_path / "one.parquet")
    table = table.append_column("weapons@1", column).replace_schema_metadata(table.schema.metadata)
    pq.write_table(table, tmp_path / "one.parquet")
    with pytest.raises(DataError, match=r"one\.parquet.*column 'weapons@1' holds no verdicts"):
        list(read_log([tmp_path], "weapons", identity="id"))


def test_a_decision_without_an_id_is_left_out_and_counted(tmp_path: Path) -> None:
    write_decisions(tmp_path / "one.parquet", [MADE[0], decision("")], [Fact("a"), Fact("")])
    (batch,) = read_log([tmp_path], "weapons", identity="id")
    assert (batch.items.item.tolist(), batch.skipped) == (["a"], {"it has no id": 1})
    assert batch.of("1").there.tolist() == [True]
