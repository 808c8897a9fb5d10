"""`moderation policy audit` over every real room but the encoder: verdicts, files, exit codes, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moderation.errors import ExitCode
from moderation.policy.lock import lock_path, read_lock, write_lock
from tests.unit.cli.conftest import Run
from tests.unit.cli.texts import POLICY
from tests.unit.cli.words import BENIGN, FILLER, WordEncoder, write_project

AUDIT = """\
audit:
  attributes: [{{name: dialect, about: author, source: account settings}}]
  counterfactuals: [dialect]
  harms:
    - {{name: wrongful, metric: fpr, tolerance: {tolerance}, set_by: lead, why: capacity, required: {required}}}
"""


@pytest.fixture(autouse=True)
def _encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())


def audited(
    tmp_path: Path, run: Run, *, slang: str, tolerance: float = 0.1, required: bool = False, size: int = 150
) -> Path:
    """A certified policy; of its audit's two dialects, one says `slang` in every greeting."""
    path = write_project(tmp_path / "policies")
    random, rows = np.random.default_rng(0), []
    for number in range(2 * size):
        own = random.choice(BENIGN, size=2)
        word = slang if number % 2 else "friend"
        text = " ".join([*own, word, *random.choice(FILLER, size=2), f"audit{number}"])
        attributes = {"dialect": "south" if number % 2 else "north"}
        rows.append({"text": text, "target": False, "cluster": f"audit {number // 2}", "attributes": attributes})
    (path.parent / "data" / "audit.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    block = AUDIT.format(tolerance=tolerance, required=str(required).lower())
    text = POLICY.replace("certify: data/certify.jsonl}", "certify: data/certify.jsonl, audit: data/audit.jsonl}")
    path.write_text(text + block)
    for step in ("compile", "certify"):
        code, out, err = run("policy", step, path)
        assert code == ExitCode.OK, out + err
    return path


def test_one_pair_is_told_as_one(tmp_path: Path, run: Run) -> None:
    out = run("policy", "audit", audited(tmp_path, run, slang="pills", size=1))[1]
    assert "  dialect: 1 of 1 pair that differs in nothing else is treated differently\n" in out


def test_a_policy_that_takes_a_dialect_for_an_advert_fails(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="pills")
    code, out, _ = run("policy", "audit", path, "--html", tmp_path / "a.html", "--markdown", tmp_path / "a.md")
    assert code == ExitCode.AUDIT_FAILED
    assert "FAIL wrongful by dialect: fail: south" in out
    written = json.loads(path.with_name("flyers.audit.json").read_text())
    assert (written["schema"], written["policy"], written["verdict"]) == ("audit/v1", "flyers", "fail")
    assert written["counterfactuals"][0]["flips"] > 0
    assert "Flyers for pills" in (tmp_path / "a.html").read_text()
    assert "**fail**" in (tmp_path / "a.md").read_text()


def test_one_that_treats_both_alike_passes_and_says_so_as_json(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend", required=True)
    code, out, err = run("policy", "audit", path, "--json")
    assert code == ExitCode.OK, err
    assert json.loads(out)["verdict"] == "pass"
    assert json.loads(out) == json.loads(path.with_name("flyers.audit.json").read_text())


def test_what_release_would_ask_for_is_next_where_it_would_refuse(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend")
    release = f"next: moderation policy release {path} --to shadow --by TEAM"
    assert run("policy", "audit", path)[1].splitlines()[-1] == release
    place = lock_path(path.parent, "flyers")
    lock = read_lock(place)
    first, *others = lock.actions
    write_lock(replace(lock, actions=(replace(first, threshold=None), *others)), place)
    code, out, err = run("policy", "audit", path)
    assert code == ExitCode.OK, err
    certify = f"next: moderation policy certify {path}"
    assert out.splitlines()[-1] == certify
    write_lock(lock, place)
    targets = path.parent / "data" / "certify.jsonl"
    targets.write_text("".join(targets.read_text().splitlines(keepends=True)[:-1]))
    assert run("policy", "audit", path)[1].splitlines()[-1] == certify
    assert "certify.jsonl reads otherwise" in run("policy", "release", path, "--to", "shadow", "--by", "us")[1]


def test_one_cluster_is_told_as_one(tmp_path: Path, run: Run) -> None:
    out = run("policy", "audit", audited(tmp_path, run, slang="friend", size=1))[1]
    assert "  2 items, 0 violating, in 1 cluster\n" in out


def test_a_required_harm_that_few_items_cannot_settle_stands_in_the_way(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend", tolerance=0.01, size=20)
    assert run("policy", "audit", path)[0] == ExitCode.OK
    required = audited(tmp_path / "required", run, slang="friend", tolerance=0.01, size=20, required=True)
    code, out, _ = run("policy", "audit", required)
    assert code == ExitCode.AUDIT_FAILED
    assert "independent items in each group would settle equal rates" in out


def test_the_lock_and_not_the_manifest_says_what_may_not_be_audited_on(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend")
    data = path.parent / "data"
    (data / "audit.jsonl").write_text((data / "background.jsonl").read_text())
    code, _, err = run("policy", "audit", path)
    assert code == ExitCode.DATA
    assert "D201" in err
    assert "cannot audit it" in err


def test_without_an_audit_block_or_its_manifest_it_says_what_is_missing(tmp_path: Path, run: Run) -> None:
    path = write_project(tmp_path / "policies")
    code, _, err = run("policy", "audit", path)
    assert code == ExitCode.POLICY
    assert "audit: is missing" in err
    path.write_text(POLICY + AUDIT.format(tolerance=0.1, required="false"))
    code, _, err = run("policy", "audit", path)
    assert code == ExitCode.POLICY
    assert "data.audit: is missing" in err


def test_a_lock_without_thresholds_is_not_audited(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend")
    assert run("policy", "compile", path)[0] == ExitCode.OK
    code, _, err = run("policy", "audit", path)
    assert code == ExitCode.ENCODER
    assert "certify it, then audit" in err


def test_an_earlier_audit_is_compared_and_anything_else_refused(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend")
    assert run("policy", "audit", path)[0] == ExitCode.OK
    earlier = path.with_name("flyers.audit.json").rename(tmp_path / "earlier.json")
    code, out, _ = run(
        "policy", "audit", path, "--against", earlier, "--propose", "a greeting", "--by", "safety", "--json"
    )
    found = json.loads(out)
    assert code == ExitCode.OK
    assert found["earlier"]["changes"][0]["verdict_before"] == "pass"
    assert (found["earlier"]["same_items"], found["earlier"]["same_harms"]) == (True, True)
    assert found["sensitivity"][0]["change"] == "with 'a greeting'"
    assert found["by"] == "safety"
    assert found["command"] == "moderation policy audit flyers.yaml --against earlier.json --propose 'a greeting'"
    for wrong, said in ((path, "no audit"), (tmp_path / "none.json", "no audit")):
        code, _, err = run("policy", "audit", path, "--against", wrong)
        assert code == ExitCode.DATA
        assert said in err
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(earlier.read_text()) | {"policy": "weapons"}))
    code, _, err = run("policy", "audit", path, "--against", other)
    assert code == ExitCode.DATA
    assert "D003: an audit of policy 'weapons'; expected one of 'flyers'" in err


def test_harms_that_change_after_a_look_at_the_items_are_told(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="pills")
    assert run("policy", "audit", path)[0] == ExitCode.AUDIT_FAILED
    path.write_text(path.read_text().replace("tolerance: 0.1", "tolerance: 0.9"))
    assert run("policy", "audit", path)[0] == ExitCode.ENCODER  # the lock is of the text with the old tolerance
    for step in ("compile", "certify"):
        assert run("policy", step, path)[0] == ExitCode.OK
    code, out, _ = run("policy", "audit", path, "--json")
    assert code == ExitCode.OK
    found = json.loads(out)
    assert len(found["registrations"]) == 2
    assert any("audited before under 1 other set of harms" in one for one in found["limits"])


def test_an_audit_that_is_replaced_and_cannot_be_read_is_told(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend")
    path.with_name("flyers.audit.json").write_text("{")
    code, _, err = run("policy", "audit", path)
    assert code == ExitCode.OK
    assert "is no audit and is replaced" in err


def test_the_policys_tests_stand_in_its_audit(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="friend")
    _, out, _ = run("policy", "audit", path, "--json")
    assert json.loads(out)["tests"] == []
    assert run("policy", "test", path)[0] == ExitCode.OK
    _, out, _ = run("policy", "audit", path, "--json", "--html", tmp_path / "a.html")
    assert [one["id"] for one in json.loads(out)["tests"]] == ["advert", "greeting"]
    assert "Functional tests" in (tmp_path / "a.html").read_text()
    path.with_name("flyers.tests.json").write_text("[1")
    _, out, _ = run("policy", "audit", path, "--json")
    assert json.loads(out)["tests"] == []


def test_content_is_looked_at_in_batches_and_vectors_are_those_of_the_sample(tmp_path: Path, run: Run) -> None:
    path = audited(tmp_path, run, slang="pills")
    with_vectors = json.loads(run("policy", "audit", path, "--json")[1])
    assert with_vectors["associations"]
    assert {one["group"] for one in with_vectors["associations"] if one["p"] < 0.01} == {"south"}
