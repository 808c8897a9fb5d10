"""`moderation policy embed`, `keep` and `backtest`: from items and decisions to reports, and every wrong input said plainly."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moderation.errors import ExitCode
from moderation.history.log import read_decisions
from moderation.history.vectors import read_items
from moderation.item import content_digest
from moderation.policy.lock import write_lock
from tests.conftest import ROOT
from tests.fakes import FakeEncoder, action, lock
from tests.policy_text import POLICY, write
from tests.unit.cli.conftest import Run

BEFORE, AFTER = lock(actions=(action("review", 0.5),)), lock(actions=(action("review", 0.6), action("remove", 0.95)))
COSINES = [0.74, 0.74, 1.0, 0.3, 0.3, 0.3]  # two go from review to nothing, one to removal


@pytest.fixture
def project(tmp_path: Path, encoder: FakeEncoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the weapons policy, two locks of it, and items as JSON lines."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, POLICY.replace("budget: 0.02", "budget: 0.9"))
    for name, build in (("old", BEFORE), ("new", AFTER)):
        write_lock(build, tmp_path / name / "weapons.lock.json")
    lines = []
    for number, cosine in enumerate(COSINES):
        (tmp_path / f"{number}.png").write_text(str(cosine), encoding="latin-1")
        known = {"target": number == 2, "cluster": f"c{number}", "time": f"2026-08-0{number + 1}T12:00:00+02:00"}
        lines.append({"id": f"i{number}", "path": f"{number}.png", "attributes": {"surface": "chat"}, **known})
    write_lines(tmp_path / "items.jsonl", lines)
    return tmp_path


def write_lines(path: Path, rows: list[Any]) -> Path:
    path.write_text(
        "".join(f"{json.dumps(row) if not isinstance(row, str) else row}\n" for row in rows), encoding="utf-8"
    )
    return path


def promise(budget: float) -> None:
    """The build that is tried, certified within a budget."""
    own = lock(actions=(action("review", 0.6, budget=budget), action("remove", 0.95)))
    write_lock(own, Path("new", "weapons.lock.json"))


def backtest(run: Run, *arguments: str) -> tuple[int, str, str]:
    return run(
        "policy",
        "backtest",
        "weapons.yaml",
        "--before",
        "old/weapons.lock.json",
        "--lock",
        "new/weapons.lock.json",
        *arguments,
    )


@pytest.mark.usefixtures("project")
def test_vectors_are_kept_and_two_builds_tried_on_them(run: Run) -> None:
    code, out, err = run("policy", "embed", "items.jsonl", "--policy", "weapons", "--out", "kept")
    assert (code, out, err) == (0, "kept 6 items, 6 vectors of encoder 0123456789abcdef/fake in kept\n", "")
    code, out, err = backtest(run, "--vectors", "kept", "--html", "b.html", "--markdown", "b.md")
    assert (code, err) == (0, "")
    assert "6 items from kept vectors" in out
    assert "review to nothing: 2 items of 2 clusters" in out
    assert "precision 1.000 (0.025 to 1.000) of all kept items, on 1 of 1 judged in 1 cluster" in out
    assert "between the builds: a major change: the promises of actions changed" in out
    for page in ("b.html", "b.md"):
        assert "review" in Path(page).read_text(encoding="utf-8")
    found = json.loads(backtest(run, "--vectors", "kept", "--json")[1])
    assert found["compared"]["items"] == 6
    assert found["after"]["loads"]["days"][0]["day"] == "2026-08-01"
    assert found["command"] == (
        "moderation policy backtest weapons.yaml --vectors kept --before old/weapons.lock.json --lock new/weapons.lock.json"
    )


@pytest.mark.usefixtures("project")
def test_that_both_are_the_same_build_is_said(run: Run) -> None:
    run("policy", "embed", "items.jsonl", "--policy", "weapons", "--out", "kept")
    same = "Both locks are the same build: nothing can differ."
    asked = ("policy", "backtest", "weapons.yaml", "--vectors", "kept", "--html", "b.html", "--markdown", "b.md")
    for before, said in (("new", True), ("old", False), (None, False)):
        beside = ("--before", f"{before}/weapons.lock.json") if before else ()
        _, out, _ = run(*asked, *beside, "--lock", "new/weapons.lock.json")
        pages = [Path(name).read_text(encoding="utf-8") for name in ("b.html", "b.md")]
        assert [same in text for text in (out, *pages)] == [said] * 3, before
        assert ("Between the builds" in pages[1]) == (before == "old")


@pytest.mark.usefixtures("project")
def test_a_difference_of_two_builds_is_told_and_that_there_are_no_two(run: Run) -> None:
    digest = hashlib.sha256(Path("0.png").read_bytes()).hexdigest()
    rows = write_lines(Path("rows.jsonl"), [{"path": "0.png", "sha256": digest, "target": False, "cluster": "a"}])
    old, new = (f"{name}/weapons.lock.json" for name in ("old", "new"))
    _, out, _ = run("policy", "diff", old, new, "--items", rows)
    assert "1 item, 1 changes band" in out
    assert "the same build" not in out
    _, out, _ = run("policy", "diff", new, new, "--items", rows)
    assert out.splitlines()[1] == "Both locks are the same build: nothing can differ."
    assert out.endswith("version: no change\n")


@pytest.mark.usefixtures("project")
def test_a_budget_exceeded_is_exit_code_8(run: Run) -> None:
    run("policy", "embed", "items.jsonl", "--policy", "weapons", "--out", "kept")
    promise(0.001)
    code, out, _ = backtest(run, "--vectors", "kept")
    assert code == ExitCode.OVER_BUDGET
    assert "budget 0.001 EXCEEDED" in out
    assert out.endswith("OVER BUDGET: review\n")


@pytest.mark.usefixtures("project")
def test_a_budget_edited_after_the_build_moves_nothing_and_is_told(run: Run) -> None:
    run("policy", "embed", "items.jsonl", "--policy", "weapons", "--out", "kept")
    promise(0.001)
    write(Path(), POLICY.replace("budget: 0.02", "budget: 1.0"))
    code, out, _ = backtest(run, "--vectors", "kept")
    assert code == ExitCode.OVER_BUDGET
    assert "WARNING: the policy file has another text now than revision" in out
    write(Path(), POLICY.replace("budget: 0.02", "budget: 0.000001"))
    promise(0.9)
    assert backtest(run, "--vectors", "kept")[0] == ExitCode.OK


@pytest.mark.usefixtures("project")
def test_a_budget_that_one_of_six_items_exceeds_is_a_warning(run: Run) -> None:
    run("policy", "embed", "items.jsonl", "--policy", "weapons", "--out", "kept")
    promise(0.02)
    code, out, _ = backtest(run, "--vectors", "kept")
    assert code == ExitCode.OK
    assert "budget 0.02 may be exceeded" in out
    assert out.endswith("WARNING: may be over budget: review\n")


def test_decisions_are_kept_and_say_what_vectors_say(project: Path, run: Run) -> None:
    run("policy", "embed", "items.jsonl", "--policy", "weapons", "--out", "kept")
    for name in ("old", "new"):
        assert run("scan", "items.jsonl", "--policy", f"{name}/weapons.lock.json", "--out", f"{name}.jsonl")[0] == 0
    code, out, _ = run("policy", "keep", "old.jsonl", "--items", "items.jsonl", "--policy", "weapons", "--out", "log")
    assert (code, out) == (0, "kept 6 decisions in log, 6 of items in items.jsonl\n")
    assert len(read_decisions(next((project / "log").glob("*.parquet")))) == 6
    told = [
        json.loads(backtest(run, *arguments, "--json")[1])
        for arguments in (
            ("--vectors", "kept"),
            ("--decisions", "log"),
            ("--decisions", "old.jsonl", "--items", "items.jsonl"),
            ("--decisions", "old.jsonl", "--decisions", "new.jsonl", "--items", "items.jsonl"),
            ("--decisions", "log", "--decisions", "new.jsonl"),
        )
    ]
    assert [one["source"] for one in told] == ["vectors", "scores", "scores", "verdicts", "verdicts"]
    for one in told:
        assert one["compared"] == told[0]["compared"]
        assert one["after"]["rates"] == told[0]["after"]["rates"]


def test_items_that_are_about_no_decision_are_refused_and_nothing_is_kept(project: Path, run: Run) -> None:
    """A line without an id is named by its file as typed, so another spelling of the path names other items."""
    write_lines(project / "bare.jsonl", [{"text": "0.1", "target": True}, {"text": "0.2", "target": False}])
    run("scan", "bare.jsonl", "--policy", "old/weapons.lock.json", "--out", "old.jsonl")
    absolute = ("old.jsonl", "--items", project / "bare.jsonl", "--policy", "weapons", "--out", "log")
    code, out, err = run("policy", "keep", *absolute)
    assert (code, out) == (ExitCode.DATA, "")
    assert f"its first id is '{project}/bare.jsonl:1', that of the first decision 'bare.jsonl:1'" in err
    assert list((project / "log").glob("*")) == []
    arguments = ("--decisions", "old.jsonl", "--items", str(project / "bare.jsonl"))
    assert backtest(run, *arguments)[0] == ExitCode.DATA
    code, out, _ = run("policy", "keep", "old.jsonl", "--items", "bare.jsonl", "--policy", "weapons", "--out", "log")
    assert (code, out) == (0, "kept 2 decisions in log, 2 of items in bare.jsonl\n")


@pytest.mark.usefixtures("project")
def test_one_is_told_as_one(run: Run) -> None:
    rows = write_lines(Path("one.jsonl"), [{"path": "0.png", "id": "a"}])
    assert run("policy", "embed", rows, "--out", "kept")[1].startswith("kept 1 item, 1 vector of encoder ")
    run("scan", rows, "--policy", "old/weapons.lock.json", "--out", "one-decided.jsonl")
    assert run("policy", "keep", "one-decided.jsonl", "--out", "log")[1] == "kept 1 decision in log\n"
    out = backtest(run, "--vectors", "kept")[1]
    assert "1 item from kept vectors" in out
    assert re.search(r"\b1 (items|clusters)", out) is None


@pytest.mark.usefixtures("project")
def test_what_embed_leaves_alone_is_told(run: Run) -> None:
    Path("some").mkdir()
    for name in ("a.png", "b.doc"):
        Path("some", name).write_text("0.1")
    told = "  left alone, of another kind: 1 file (some/b.doc); read are .gif, "
    assert run("policy", "embed", "some", "--out", "kept")[1].splitlines()[1].startswith(told)


@pytest.mark.usefixtures("project")
def test_targets_are_left_out_unless_their_policy_is_named(run: Run) -> None:
    _, _, err = run("policy", "embed", "items.jsonl", "--out", "kept")
    assert "targets are left out: name the policy that they are about (--policy)" in err
    items, _ = read_items(next(Path("kept").glob("*.parquet")))
    assert {len(one.fact.targets) for one in items} == {0}
    told = backtest(run, "--vectors", "kept")[1]
    assert "not estimable: no judged item got it" in told
    assert "\nviolating share not estimable: no item is judged\n" in told


@pytest.mark.usefixtures("project")
def test_targets_under_another_policys_id_are_told(run: Run) -> None:
    """A misspelt one: an id is never refused by `embed`, which knows of no policy."""
    run("policy", "embed", "items.jsonl", "--policy", "wepons", "--out", "kept")
    told = "\nviolating share not estimable: no item is judged under this policy; some are under 'wepons'\n"
    assert told in backtest(run, "--vectors", "kept")[1]
    run("scan", "items.jsonl", "--policy", "old/weapons.lock.json", "--out", "old.jsonl")
    run("policy", "keep", "old.jsonl", "--items", "items.jsonl", "--policy", "wepons", "--out", "log")
    assert told in backtest(run, "--decisions", "log")[1]


@pytest.mark.usefixtures("project")
def test_where_one_line_is_wrong_nothing_is_kept_and_the_folder_takes_a_second_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BATCH", "FILE", "DECISIONS"):
        monkeypatch.setattr(f"moderation.cli.policy_history.{name}", 1)
    run("scan", "items.jsonl", "--policy", "old/weapons.lock.json", "--out", "old.jsonl")
    lines = Path("old.jsonl").read_text(encoding="utf-8").splitlines()
    write_lines(Path("odd.jsonl"), [{"text": "0.1"}, {"text": "0.2", "sha256": "0" * 64}])
    write_lines(Path("half.jsonl"), [*lines[:3], lines[3][:-1]])
    runs = {
        "kept": (("embed", "odd.jsonl"), ("embed", "items.jsonl")),
        "log": (("keep", "half.jsonl"), ("keep", "old.jsonl")),
    }
    for out, (wrong, right) in runs.items():
        assert run("policy", *wrong, "--out", out)[0] == ExitCode.DATA
        assert list(Path(out).iterdir()) == []
        assert run("policy", *right, "--out", out)[0] == ExitCode.OK
        assert len(list(Path(out).iterdir())) == len(COSINES)


@pytest.mark.usefixtures("project")
def test_who_leaves_before_it_is_told_what_was_kept_takes_nothing_away(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_text: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("moderation.cli.terminal.say", gone)
    with suppress(BrokenPipeError):
        run("policy", "embed", "items.jsonl", "--out", "kept")
    assert [one.name for one in Path("kept").iterdir()] == ["items-00000.parquet"]


def test_a_policys_file_is_no_id_that_targets_could_be_kept_under(project: Path, run: Run) -> None:
    for command in (("embed", "items.jsonl"), ("keep", "old.jsonl", "--items", "items.jsonl")):
        code, _, err = run("policy", *command, "--policy", "weapons.yaml", "--out", "kept")
        assert (code, Path("kept").exists()) == (ExitCode.USAGE, False)
        assert "found 'weapons.yaml'; expected the policy's id" in re.sub(r"[\s│]+", " ", err)


def test_several_parts_and_what_cannot_be_read_or_encoded(project: Path, run: Run) -> None:
    (project / "bad.png").write_text("no picture", encoding="latin-1")
    rows = [
        {"id": "two", "parts": [{"path": "2.png"}, {"text": "0.1"}]},
        {"id": "bad", "path": "bad.png"},
        {"id": "gone", "path": "gone.png"},
        "{no json",
        {"id": "lone", "text": "0.5"},
    ]
    write_lines(project / "odd.jsonl", rows)
    code, out, err = run("policy", "embed", "odd.jsonl", "--out", "kept")
    assert (code, out.splitlines()) == (
        0,
        [
            "kept 3 items, 3 vectors of encoder 0123456789abcdef/fake in kept",
            "  1 kept without a vector: unsupported_input",
            "  1 left out: no_such_file",
            "  1 left out: not_json",
        ],
    )
    assert "gone.png" in err
    items, _ = read_items(next((project / "kept").glob("*.parquet")))
    assert [(one.fact.item, len(one.parts)) for one in items] == [("two", 2), ("bad", 1), ("lone", 1)]
    found = json.loads(backtest(run, "--vectors", "kept", "--json")[1])["compared"]["matrix"]
    assert (found["error"]["error"], found["out of scope"]["out of scope"]) == (1, 1)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"target": "yes"}, "target: found 'yes'; expected true or false"),
        ({"target": True, "weight": 0}, "weight: found 0; expected how many items this one stands for"),
        ({"target": True, "weight": "3"}, "weight: found '3'"),
        ({"weight": 3}, "weight: there is no target that it could weigh"),
        ({"time": "2026-08-01T12:00:00"}, "expected a time with its zone"),
        ({"time": 5}, "time: found 5"),
        ({"time": "9999-12-31T23:59:59-12:00"}, "time: found '9999-12-31T23:59:59-12:00'"),
        ({"target": True, "weight": 10**400}, "weight: found 1"),
        ({"cluster": 7}, "cluster: found 7; expected a text"),
        ({"attributes": {"surface": 1}}, "attributes: expected an object of texts"),
        (
            {"sha256": "0" * 64},
            f"the content is not what its digest says: found {content_digest(b'0.2')}; expected {'0' * 64}",
        ),
    ],
)
def test_what_a_line_says_wrongly_of_an_item_is_located(
    project: Path, run: Run, row: dict[str, Any], says: str
) -> None:
    write_lines(project / "odd.jsonl", [{"id": "a", "text": "0.1"}, {"id": "b", "text": "0.2", **row}])
    code, _, err = run("policy", "embed", "odd.jsonl", "--policy", "weapons", "--out", "kept")
    assert code == ExitCode.DATA
    assert "odd.jsonl:2:1: D" in err
    assert says in err
    if "sha256" not in row:
        run("scan", "items.jsonl", "--policy", "old/weapons.lock.json", "--out", "old.jsonl")
        code, _, err = run("policy", "keep", "old.jsonl", "--items", "odd.jsonl", "--policy", "weapons", "--out", "log")
        assert (code, says in err) == (ExitCode.DATA, True)


@pytest.mark.usefixtures("project")
def test_what_was_kept_before_is_neither_replaced_nor_mixed_with(run: Run) -> None:
    run("scan", "items.jsonl", "--policy", "old/weapons.lock.json", "--out", "old.jsonl")
    for command in (("embed", "items.jsonl", "--out", "kept"), ("keep", "old.jsonl", "--out", "log")):
        assert run("policy", *command)[0] == ExitCode.OK
        before = {path: path.read_bytes() for path in Path(command[-1]).iterdir()}
        code, _, err = run("policy", *command)
        assert (code, re.search(r"holds \S+\.parquet already;", err) is not None) == (ExitCode.DATA, True)
        assert {path: path.read_bytes() for path in Path(command[-1]).iterdir()} == before


@pytest.mark.usefixtures("project")
def test_facts_that_contradict_or_are_none_are_located(run: Run) -> None:
    run("scan", "items.jsonl", "--policy", "old/weapons.lock.json", "--out", "old.jsonl")
    rows = [{"id": "a", "text": "x", "target": True}, {"id": "a", "text": "x", "target": False}, "{", [1]]
    write_lines(Path("odd.jsonl"), rows)
    code, _, err = run("policy", "keep", "old.jsonl", "--items", "odd.jsonl", "--policy", "weapons", "--out", "log")
    assert code == ExitCode.DATA
    for line, why in ((2, "written twice, with other facts"), (3, "not a line of JSON"), (4, "expected a JSON object")):
        assert f"odd.jsonl:{line}:1" in err
        assert why in err
    Path("one.txt").write_text("x", encoding="utf-8")
    assert "expected JSON lines" in run("policy", "keep", "old.jsonl", "--items", "one.txt", "--out", "log")[2]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), ExitCode.USAGE, "expected either --vectors or --decisions"),
        (("--vectors", "kept", "--decisions", "kept"), ExitCode.USAGE, "expected either --vectors or --decisions"),
        (("--vectors", "kept", "--items", "items.jsonl"), ExitCode.USAGE, "--items goes with decisions as JSON lines"),
        (("--vectors", "gone"), ExitCode.USAGE, "does not exist"),
        (
            ("--vectors", "empty"),
            ExitCode.DATA,
            "holds no .parquet file; expected what `moderation policy embed` writes",
        ),
        (("--decisions", "empty"), ExitCode.DATA, "expected what `moderation policy keep` writes"),
        (("--decisions", "kept"), ExitCode.DATA, "is not written as decisions/v1, but as vectors/v1"),
        (("--decisions", "items.jsonl"), ExitCode.DATA, "items.jsonl:1:1: D003: expected a decision as JSON"),
        (("--decisions", "nothing.jsonl"), ExitCode.DATA, "holds no decisions"),
        (("--vectors", "kept", "--html", "no/such.html"), ExitCode.USAGE, "there is no folder no"),
    ],
)
def test_wrong_arguments_are_said(run: Run, arguments: tuple[str, ...], code: int, says: str) -> None:
    run("policy", "embed", "items.jsonl", "--out", "kept")
    Path("empty").mkdir()
    Path("nothing.jsonl").write_text("\n", encoding="utf-8")
    found, _, err = backtest(run, *arguments)
    assert found == code, err
    assert says in " ".join(err.replace("│", " ").split())


@pytest.mark.usefixtures("project")
def test_on_another_numeric_class_epsilon_is_measured_where_the_encoder_runs_so(run: Run, encoder: FakeEncoder) -> None:
    other = FakeEncoder(numeric="other", jitter=-0.0008)
    encoder.fingerprint, encoder.jitter = other.fingerprint, other.jitter
    run("policy", "embed", "items.jsonl", "--out", "kept")
    found = json.loads(backtest(run, "--vectors", "kept", "--json")[1])
    assert set(found["numeric"]) == {"other"}
    assert min(found["numeric"]["other"].values()) > 0
    encoder.fingerprint, encoder.jitter = FakeEncoder().fingerprint, 0.0
    code, _, err = backtest(run, "--vectors", "kept")
    assert code == ExitCode.ENCODER
    assert "what is kept was encoded on other" in err


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "command", [("embed", "items.jsonl", "--out", "kept"), ("keep", "items.jsonl", "--out", "kept")]
)
def test_without_the_extra_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    code, _, err = run("policy", *command)
    assert code == ExitCode.USAGE
    assert 'this needs pyarrow, which is not installed; try: pip install "moderation[history]"' in err


def test_what_needs_no_kept_files_needs_no_extra() -> None:
    code = "import sys; sys.modules['pyarrow'] = None; import moderation.cli.policy_diff, moderation.cli.policy_explain, moderation.cli.main"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
