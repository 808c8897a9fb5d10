"""Lint and schema on the command line: everything wrong in one run, with its place, for people and for machines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from moderation.errors import ExitCode
from moderation.item import Modality
from moderation.policy.lock import lock_path, write_lock
from tests.fakes import FakeDetector, lock, plugins_with
from tests.unit.cli.conftest import Run
from tests.unit.cli.texts import POLICY, TESTS
from tests.unit.cli.words import WordEncoder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "flyers.yaml").write_text(POLICY)
    (tmp_path / "tests" / "flyers.yaml").write_text(TESTS)
    (tmp_path / "data").mkdir()
    for name, text in (("fit", "good morning"), ("certify", "hello, my friend")):
        row = {"text": text, "target": False, "cluster": name}
        (tmp_path / "data" / f"{name}.jsonl").write_text(json.dumps(row))
    return tmp_path


def test_a_clean_folder_says_so(folder: Path, run: Run) -> None:
    assert run("policy", "lint", folder) == (ExitCode.OK, "1 file, 0 errors, 0 warnings\n", "")


def test_five_mistakes_are_five_located_errors(folder: Path, run: Run) -> None:
    changes = [
        ("owner:", "ownr:"),
        ("severity: high", "severity: hgih"),
        ("on_error: review", "on_error: reviw"),
        ("covers: [a1]", "covers: [a2]"),
        ("version: 1.0.0", "version: 1.0"),
    ]
    text = POLICY
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "flyers.yaml"
    path.write_text(text)
    code, out, err = run("policy", "lint", path)
    *lines, total = out.splitlines()
    assert (code, err) == (ExitCode.POLICY, "")
    assert all(line.startswith(f"{path}:") for line in lines)
    places = [int(line.removeprefix(f"{path}:").split(":")[0]) for line in lines]
    assert places == sorted(text[: text.index(after)].count("\n") + 1 for _, after in changes)
    assert total == "1 file, 5 errors, 0 warnings"


def test_a_broken_file_hides_nothing_of_the_others(folder: Path, run: Run) -> None:
    (folder / "broken.yaml").write_text("id: [")
    (folder / "worded.yaml").write_text(POLICY.replace("id: flyers", "id: worded").replace("cheap pills", "no pills"))
    code, out, _ = run("policy", "lint", folder, "--json")
    found = json.loads(out)
    codes = {Path(one["path"]).name: one["code"] for one in found["findings"]}
    assert (code, found["files"]) == (ExitCode.POLICY, 3)
    assert codes["broken.yaml"].startswith("Y")
    assert codes["worded.yaml"] == "L001"


def test_a_mistake_in_a_test_file_is_found_here_too(folder: Path, run: Run) -> None:
    (folder / "tests" / "flyers.yaml").write_text(TESTS.replace("expect: at", "expct: at"))
    code, out, _ = run("policy", "lint", folder)
    assert code == ExitCode.POLICY
    assert "tests/flyers.yaml:3:" in out
    assert "did you mean 'expect'?" in out


def test_a_misspelt_expectation_is_one_mistake_and_no_lack_of_tests(folder: Path, run: Run) -> None:
    (folder / "tests" / "flyers.yaml").write_text(TESTS.replace("expect: no_match", "expect: nomatch"))
    code, out, _ = run("policy", "lint", folder)
    assert (code, out.splitlines()[-1]) == (ExitCode.POLICY, "1 file, 1 error, 0 warnings")
    assert "found 'nomatch'; expected 'no_match'" in out


def test_a_test_file_in_place_of_a_policy_is_one_mistake(folder: Path, run: Run) -> None:
    file = folder / "tests" / "flyers.yaml"
    file.write_text("schema: policy-tests/v1\n" + TESTS)
    told = f"{file}:1:9: P103 error: a test file is no policy; lint reads it with the policy whose `tests` name it\n"
    assert run("policy", "lint", file) == (ExitCode.POLICY, f"{told}1 file, 1 error, 0 warnings\n", "")


def test_a_lock_in_place_of_a_policy_is_one_mistake(tmp_path: Path, run: Run) -> None:
    file = lock_path(tmp_path, "weapons")
    write_lock(lock(), file)
    code, out, _ = run("policy", "lint", file)
    assert (code, out.count("\n")) == (ExitCode.POLICY, 2)
    assert "P103 error: a lock is no policy; name the one that it was made from\n1 file, 1 error" in out


def test_what_is_not_there_is_no_file_that_was_checked(tmp_path: Path, run: Run) -> None:
    code, out, _ = run("policy", "lint", tmp_path / "nowhere")
    assert (code, out.splitlines()[-1]) == (ExitCode.POLICY, "0 files, 1 error, 0 warnings")


def test_an_error_that_lets_pass_is_warned_of(folder: Path, run: Run) -> None:
    (file,) = folder.glob("*.yaml")
    file.write_text(file.read_text().replace("on_error: review", "on_error: allow"))
    code, out, _ = run("policy", "lint", folder)
    assert (code, out.splitlines()[-1]) == (ExitCode.OK, "1 file, 0 errors, 1 warning")
    assert "P113 warning: what cannot be judged passes: on_error is 'allow', the weakest action" in out


def test_a_label_that_a_detector_has_not_is_an_error_at_its_place(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = plugins_with(
        FakeDetector("keywords", labels=("gambling", "hate")), FakeDetector("seen", modalities={Modality.IMAGE})
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: brought)
    path = folder / "flyers.yaml"
    path.write_text(POLICY + "detectors:\n  - keywords/hate\n  - keywords/zzz\n  - kewords\n  - seen\n")
    code, out, _ = run("policy", "lint", path)
    last = POLICY.count("\n") + 1  # the line of `detectors:`
    absent = "plugin 'kewords': policy 'flyers' needs the detector 'kewords', which no plugin provides; did you mean 'keywords'?"
    assert (code, out.splitlines()) == (
        ExitCode.POLICY,
        [
            f"{path}:{last + 2}:5: P114 error: policy 'flyers': detector 'keywords' has no label 'zzz'; expected one of gambling, hate",
            f"{path}:{last + 3}:5: P114 warning: not to be had on this machine: {absent}",
            f"{path}:{last + 4}:5: P114 error: policy 'flyers': detector 'seen' judges image, but the policy's scope is text, so it would never be asked",
            "1 file, 2 errors, 1 warning",
        ],
    )


def test_plugins_are_loaded_only_for_a_policy_that_names_a_detector(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("moderation.assemble.plugins")
    assert run("policy", "lint", folder)[0] == ExitCode.OK


def test_warnings_alone_leave_with_zero(folder: Path, run: Run) -> None:
    words = " ".join(["very"] * 22)
    (folder / "flyers.yaml").write_text(POLICY.replace("cheap pills", f"{words} cheap pills", 1))
    code, out, _ = run("policy", "lint", folder)
    assert (code, out.splitlines()[-1]) == (ExitCode.OK, "1 file, 0 errors, 1 warning")


def test_the_card_of_a_local_encoder_narrows_what_may_be_written(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {
        "schema": "encoder-card/v1", "name": "small", "modalities": ["text"], "width": 8, "activation": "gelu",
        "text": {"context_length": 32, "padding": "longest", "trim_exact": True, "languages": ["de"]},
    }  # fmt: skip
    (folder / "encoder").mkdir()
    (folder / "encoder" / "card.json").write_text(json.dumps(card))
    monkeypatch.setenv("MODERATION_ENCODERS", f'{{default = {{checkpoint = "{folder / "encoder"}"}}}}')
    code, out, _ = run("policy", "lint", folder / "flyers.yaml")
    assert code == ExitCode.POLICY
    assert "L014" in out


@pytest.mark.parametrize("kind", ["policy", "tests"])
def test_the_schema_goes_to_stdout_or_to_a_file(kind: str, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("policy", "schema", kind)
    assert code == ExitCode.OK
    assert json.loads(out)["additionalProperties"] is False
    run("policy", "schema", kind, "--out", tmp_path / "schema.json")
    assert (tmp_path / "schema.json").read_text() == out


def test_an_unknown_kind_of_schema_is_a_usage_error(run: Run) -> None:
    code, out, err = run("policy", "schema", "polcy")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "expected policy or tests" in err


def test_what_is_wrong_in_a_manifest_or_between_two_is_found_here_too(folder: Path, run: Run) -> None:
    data = folder / "data"
    row = {"text": "cheap pills today", "target": True, "cluster": "a"}
    (data / "fit.jsonl").write_text(json.dumps(row))
    (data / "certify.jsonl").write_text(json.dumps(row) + "\n{}")
    code, out, _ = run("policy", "lint", folder)
    assert code == ExitCode.POLICY
    assert "certify.jsonl:2:1: D003 error" in out
    (data / "certify.jsonl").write_text(json.dumps(row))
    code, out, _ = run("policy", "lint", folder)
    assert (code, "certify.jsonl:1:1: D007 error" in out) == (ExitCode.POLICY, True)


SLOGAN = "cheap pills without any prescription, delivered to your door within a day"


def test_what_compile_certify_and_audit_would_refuse_as_nearly_the_same_is_told_beforehand(
    folder: Path, run: Run
) -> None:
    data, texts = folder / "data", {"violating": SLOGAN, "fit": SLOGAN.upper(), "certify": SLOGAN + "!"}
    texts |= {"audit": SLOGAN + "?", "background": f"{SLOGAN}."}
    for name, text in texts.items():
        row = {"text": text, "target": name != "background", "cluster": name}
        (data / f"{name}.jsonl").write_text(json.dumps(row))
    (data / "background.jsonl").rename(data / "flyers.background.jsonl")
    with (data / "certify.jsonl").open("a") as stream:
        stream.write("\n" + json.dumps({"text": SLOGAN + " .", "target": True, "cluster": "again"}))
    named = "data: {fit: data/fit.jsonl, certify: data/certify.jsonl, audit: data/audit.jsonl}"
    policy = POLICY.replace("data: {fit: data/fit.jsonl, certify: data/certify.jsonl}", named)
    (folder / "flyers.yaml").write_text(f"exemplars: {{violating: data/violating.jsonl}}\n{policy}")
    code, out, _ = run("policy", "lint", folder)
    *lines, total = out.splitlines()
    found = [tuple(line.removeprefix(f"{data}/").split(": ")[:2]) for line in lines]
    assert found == [
        ("audit.jsonl:1:1", "D008 error"),
        ("certify.jsonl:1:1", "D008 error"),
        ("certify.jsonl:2:1", "D008 error"),
        ("certify.jsonl:2:1", "D008 warning"),
        ("flyers.background.jsonl:1:1", "D008 error"),
    ]
    assert (code, total) == (ExitCode.POLICY, "1 file, 4 errors, 1 warning")
    assert all(line.endswith("take one of the two rows out") for line in lines[:3])
    assert f"{data / 'certify.jsonl'}:1, cluster 'certify'; they count as one object" in lines[3]


def test_the_very_same_content_is_told_once_and_not_as_nearly_the_same(folder: Path, run: Run) -> None:
    for name in ("fit", "certify"):
        row = {"text": SLOGAN, "target": True, "cluster": name}
        (folder / "data" / f"{name}.jsonl").write_text(json.dumps(row))
    _, out, _ = run("policy", "lint", folder)
    assert [line.split(": ")[1] for line in out.splitlines()[:-1]] == ["D007 error"]


def test_a_test_that_the_policy_can_never_pass_is_an_error(folder: Path, run: Run) -> None:
    only_review = "\n".join(line for line in POLICY.splitlines() if "action: remove" not in line)
    (folder / "flyers.yaml").write_text(only_review)
    (folder / "tests" / "flyers.yaml").write_text(TESTS.replace("at_least review", "match"))
    code, out, _ = run("policy", "lint", folder)
    assert (code, "tests/flyers.yaml:3:" in out, "T104" in out) == (ExitCode.POLICY, True, True)


def test_files_that_are_gone_or_are_not_what_their_digest_says_are_found_at_once(folder: Path, run: Run) -> None:
    data = folder / "data"
    for name in ("a.txt", "b.txt", "c.txt"):
        (data / name).write_text(name)
    kept, wrong = (hashlib.sha256(text).hexdigest() for text in (b"a.txt", b"as it was"))
    files = [("a.txt", kept), ("b.txt", wrong), ("gone.txt", "1" * 64), ("c.txt", "2" * 64)]
    rows = [{"path": path, "sha256": sha256, "target": True, "cluster": path} for path, sha256 in files]
    (data / "fit.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, {}]))
    code, out, _ = run("policy", "lint", folder)
    assert code == ExitCode.POLICY
    found = [line.split(": ")[0].rpartition("/")[2] + " " + line.split(": ")[1] for line in out.splitlines()[:-1]]
    assert found[:3] == ["fit.jsonl:2:1 D006 error", "fit.jsonl:3:1 D005 error", "fit.jsonl:4:1 D006 error"]
    assert set(found[3:]) == {"fit.jsonl:5:1 D003 error"}
    assert f"b.txt has sha256 {hashlib.sha256(b'b.txt').hexdigest()}; the manifest says {wrong}" in out


def test_a_manifest_that_is_not_there_yet_is_a_warning(folder: Path, run: Run) -> None:
    (folder / "data" / "fit.jsonl").unlink()
    for name in ("data/fit.jsonl", f"data/{'x' * 300}.jsonl"):
        (folder / "flyers.yaml").write_text(POLICY.replace("data/fit.jsonl", name))
        code, out, _ = run("policy", "lint", folder)
        assert (code, out.splitlines()[-1]) == (ExitCode.OK, "1 file, 0 errors, 1 warning")
        assert "D001 warning" in out


def test_every_file_that_is_gone_or_has_another_digest_is_told_at_once(tmp_path: Path, run: Run) -> None:
    assert run("policy", "new", "dice", "--folder", tmp_path)[0] == ExitCode.OK
    (tmp_path / "data" / "dice" / "fit-circle.png").write_bytes(b"another picture")
    (tmp_path / "data" / "dice" / "certify-square.png").unlink()
    code, out, _ = run("policy", "lint", tmp_path)
    assert code == ExitCode.POLICY
    assert "dice.fit.jsonl:1:1: D006 error: " in out
    assert "dice.certify.jsonl:2:1: D005 error: " in out


def test_measured_rules_are_asked_for_and_stand_among_the_others(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())
    code, out, err = run("policy", "lint", folder, "--measured", "--json")
    found = json.loads(out)
    assert code == ExitCode.OK, err
    told = {one["code"]: one["severity"] for one in found["findings"]}
    assert told["L015"] == told["L017"] == "info"
    assert found["warnings"] == sum(one["severity"] == "warning" for one in found["findings"])


def test_a_named_manifest_that_is_wrong_is_told(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())
    (folder / "people.jsonl").write_text("no row")
    code, _, err = run("policy", "lint", folder, "--measured", "--people", folder / "people.jsonl")
    assert code == ExitCode.DATA
    assert "people.jsonl:1" in err


def test_findings_are_written_for_code_hosts(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    path = folder / "flyers.yaml"
    path.write_text(POLICY.replace("cheap pills", "no pills"))
    code, _, _ = run("policy", "lint", path, "--sarif", folder / "found.sarif")
    assert code == ExitCode.POLICY
    found = json.loads((folder / "found.sarif").read_text())
    (only,) = found["runs"]
    place = only["results"][0]["locations"][0]["physicalLocation"]
    assert found["version"] == "2.1.0"
    assert (only["results"][0]["ruleId"], only["results"][0]["level"]) == ("L001", "error")
    assert place["artifactLocation"]["uri"] == "flyers.yaml"
    assert path.read_text().splitlines()[place["region"]["startLine"] - 1].count("no pills") == 1
    assert [one["id"] for one in only["tool"]["driver"]["rules"]] == ["L001"]
