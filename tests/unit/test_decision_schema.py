"""The published form of a decision is the one that is written, by scans and by workers alike."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from moderation.cli import main
from moderation.decision import Decision
from moderation.decision_schema import json_schema
from moderation.policy.lock import lock_path, write_lock
from tests.conftest import ROOT
from tests.fakes import FakeEncoder, lock
from tests.unit.stream.test_decider import IMAGE, decider, picture, record, told

PUBLISHED = json.loads((ROOT / "docs" / "decision.schema.json").read_text(encoding="utf-8"))


def closed(schema: Any) -> Any:
    """The schema without leave to hold more than it names: what is written today."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    return {**found, "additionalProperties": False} if "properties" in found else found


CHECK = jsonschema.Draft202012Validator(closed(PUBLISHED))


def test_the_committed_schema_is_the_generated_one() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert json_schema() == PUBLISHED, "moderation policy schema decision --out docs/decision.schema.json"


def test_decisions_of_a_stream_are_so() -> None:
    values = [(picture(0.95), IMAGE), (picture(0.1), IMAGE), (b"junk", IMAGE), (None, IMAGE)]
    for live in (True, False):
        for outputs in decider(live=live).decide([record(value, header) for value, header in values]):
            for output in outputs:
                CHECK.validate(told(output))


def test_decisions_of_a_scan_are_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_arguments, **_options: FakeEncoder())
    write_lock(lock(), lock_path(tmp_path / "build", "weapons"))
    for name, text in {"a.png": "1.0", "b.png": "0.0", "c.png": "no picture", "d.txt": "hello"}.items():
        (tmp_path / name).write_text(text)
    assert main.run(["scan", str(tmp_path), "--policy", str(lock_path(tmp_path / "build", "weapons")), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) >= 4
    for row in rows:
        CHECK.validate(row)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["action"], None), (["verdicts", 0, "outcome"], "perhaps"), (["verdicts", 0, "score"], 1.5), (["severity"], "grave"),
        (["verdicts", 0, "status"], "on"), (["timing", "decode"], -1), (["cache_hit"], 0), (["more"], 1), (["verdicts", 0, "more"], 1),
        (["verdicts", 0, "region"], [0, 0, 1]), (["verdicts", 0, "region"], [0, 0, 1, 1.5]), (["verdicts", 0, "region"], [0, 0, 1, 1, 1]),
    ],
)  # fmt: skip
def test_what_is_no_decision_is_told_from_one(path: list[str | int], value: object) -> None:
    ((output,),) = decider().decide([record(picture(0.95), IMAGE)])
    row = told(output)
    CHECK.validate(row)
    place: Any = row
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        CHECK.validate(row)


def test_a_region_is_four_edges() -> None:
    ((output,),) = decider().decide([record(picture(0.95), IMAGE)])
    row = told(output)
    row["verdicts"][0]["region"] = [0.25, 0, 0.5, 1]
    CHECK.validate(row)
    assert Decision.from_dict(row).verdicts[0].region == (0.25, 0, 0.5, 1)


def test_every_field_of_a_decision_is_required() -> None:
    ((output,),) = decider().decide([record(picture(0.95), IMAGE)])
    row = told(output)
    assert Decision.from_dict(row).to_dict() == row
    for name in row:
        lacking = copy.deepcopy(row)
        del lacking[name]
        with pytest.raises(jsonschema.ValidationError):
            CHECK.validate(lacking)


def test_a_decision_as_a_cloud_event() -> None:
    ((output,),) = decider(event_source="/moderation/g").decide([record(picture(0.95), IMAGE)])
    ((bare,),) = decider().decide([record(picture(0.95), IMAGE)])
    headers = dict(output.headers)
    assert {name: value for name, value in headers.items() if name.startswith("ce_")} == {
        "ce_specversion": b"1.0", "ce_id": told(output)["decision_id"].encode(), "ce_source": b"/moderation/g",
        "ce_type": b"moderation.decision.v1", "ce_time": b"1970-01-01T00:00:05.000+00:00",
    }  # fmt: skip
    assert (headers["content-type"], output.key) == (b"application/json", b"author")
    assert not [name for name, _ in bare.headers if name.startswith("ce_")]
    assert told(output).keys() == told(bare).keys()
