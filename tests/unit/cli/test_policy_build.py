"""A policy's life on the command line, over every real room but the encoder: compile, certify, test, show, scan."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moderation.cli import lock_words
from moderation.decision import Score
from moderation.detector.base import Detector
from moderation.encoder.base import Encoded, Fingerprint
from moderation.errors import ExitCode
from moderation.item import Modality, Part
from moderation.plugin.brought import PluginRecord, Plugins, PluginState
from moderation.policy.lock import read_lock, write_lock
from tests.fakes import FakeDetector, FakeReader, plugins_with
from tests.unit.cli.conftest import Run
from tests.unit.cli.texts import POLICY
from tests.unit.cli.words import WordEncoder, write_project, write_rows

NO_TESTS = ("pairs", "directions", "invariance", "capabilities", "benign", "groups", "stability", "degenerate", "todo")


@pytest.fixture(autouse=True)
def _encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: WordEncoder())


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return write_project(tmp_path / "policies")


@pytest.fixture
def certified(policy: Path, run: Run) -> Path:
    for step in ("compile", "certify"):
        code, out, err = run("policy", step, policy)
        assert code == ExitCode.OK, out + err
    return policy


def test_compile_writes_a_lock_beside_the_policy_and_says_what_comes_next(policy: Path, run: Run) -> None:
    code, out, _ = run("policy", "compile", policy)
    path = policy.with_name("flyers.lock.json")
    assert code == ExitCode.OK
    assert out.startswith(f"compiled flyers 1.0.0 at level {read_lock(path).level}: {path}\n")
    two = "a lock is two files, of no use apart: flyers.lock.json and flyers.lock.safetensors"
    assert out.endswith(f"{two}\nnext: moderation policy certify {policy}\n")
    assert {one.name for one in policy.parent.glob("flyers.lock*")} == set(two.split(": ")[1].split(" and "))


def test_the_lock_goes_where_it_is_told_and_is_found_there(policy: Path, tmp_path: Path, run: Run) -> None:
    build = tmp_path / "build"
    build.mkdir()
    for step in ("compile", "certify", "test", "show"):
        assert run("policy", step, policy, "--out", build)[0] == ExitCode.OK
    assert not policy.with_name("flyers.lock.json").exists()
    assert read_lock(build / "flyers.lock.json").policy == "flyers"


def test_every_next_step_works_as_it_was_told(tmp_path: Path, run: Run) -> None:
    policy = write_project(tmp_path / "my policies")
    (policy.parent / "data" / "background.jsonl").rename(background := tmp_path / "ordinary content.jsonl")
    build = tmp_path / "a build"
    told = ["moderation", "policy", "compile", str(policy), "--out", str(build), "--background", str(background)]
    taken = []
    while told:
        code, out, err = run(*told[1:])
        assert code == ExitCode.OK, out + err
        taken.append(told[2])
        if told[2] == "certify":
            assert told[-1] == str(background)  # or what the classifier has seen would not be held apart
        _, _, step = out.splitlines()[-1].partition("next: ")
        told = shlex.split(step)
    assert taken == ["compile", "certify", "test", "release", "release"]
    assert not policy.with_name("flyers.lock.json").exists()


def test_what_a_build_elsewhere_lacks_is_asked_for_there(policy: Path, tmp_path: Path, run: Run) -> None:
    (build := tmp_path / "a build").mkdir()
    where = f"{policy} --out '{build}'"
    assert run("policy", "certify", policy, "--out", build)[2].endswith(f"run: moderation policy compile {where}\n")
    assert run("policy", "show", policy, "--out", build)[1].endswith(f"run: moderation policy compile {where}\n")
    run("policy", "compile", policy, "--out", build)
    assert f"run: moderation policy certify {where}\n" in run("policy", "test", policy, "--out", build)[1]
    policy.write_text(POLICY.replace("cheap pills", "cheap tablets"))
    assert run("policy", "test", policy, "--out", build)[2].endswith(f"again: moderation policy compile {where}\n")


def test_compiling_twice_gives_the_same_bytes(policy: Path, tmp_path: Path, run: Run) -> None:
    for build in ("one", "two"):
        run("policy", "compile", policy, "--out", tmp_path / "made" / build)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / "made" / build).iterdir()} for build in ("one", "two"))
    assert one == two
    assert "flyers.lock.json" in one


def test_a_policy_that_lints_wrong_is_not_compiled(policy: Path, run: Run) -> None:
    policy.write_text(POLICY.replace("cheap pills", "no pills"))
    code, out, err = run("policy", "compile", policy)
    assert (code, out) == (ExitCode.POLICY, "")
    assert "L001" in err
    assert not policy.with_name("flyers.lock.json").exists()


def test_certify_writes_thresholds_and_says_what_they_promise(certified: Path, run: Run) -> None:
    lock = read_lock(certified.with_name("flyers.lock.json"))
    code, out, _ = run("policy", "certify", certified)
    assert code == ExitCode.OK
    assert len(lock.actions) == 2
    for action in lock.actions:
        assert action.threshold is not None
        promise = f"{action.action}: {action.metric} at least {action.at_least:g}, confidence {action.confidence:g}"
        assert f"{promise}: certified at threshold {action.threshold:.6f}" in out
    assert out.endswith(f"next: moderation policy test {certified}\n")


def test_certify_as_json_has_stable_keys(certified: Path, run: Run) -> None:
    found = json.loads(run("policy", "certify", certified, "--json")[1])
    assert {
        "schema",
        "policy",
        "version",
        "revision",
        "lock",
        "level",
        "encoder",
        "max_parts",
        "readers",
        "actions",
        "bands",
        "evidence",
    } == set(found)
    keys = {"action", "metric", "at_least", "confidence", "certified", "threshold", "certificate", "shortfall"}
    assert [set(action) for action in found["actions"]] == [keys, keys]


def test_too_few_targets_is_an_honest_answer(policy: Path, run: Run) -> None:
    write_rows(policy.parent / "data" / "certify.jsonl", "few", 3, 20)
    run("policy", "compile", policy)
    code, out, _ = run("policy", "certify", policy)
    assert code == ExitCode.NOT_CERTIFIED
    assert "cannot certify: " in out
    assert " more violating targets" in out
    lock = read_lock(policy.with_name("flyers.lock.json"))
    assert any(action.threshold is None and action.shortfall for action in lock.actions)
    assert "next:" not in out


@pytest.mark.parametrize("other", ["fit.jsonl", "background.jsonl"])
def test_what_the_classifier_was_made_from_cannot_certify_it(policy: Path, run: Run, other: str) -> None:
    data = policy.parent / "data"
    run("policy", "compile", policy)
    with (data / "certify.jsonl").open("a") as stream:
        stream.write((data / other).read_text().splitlines()[0] + "\n")
    code, _, err = run("policy", "certify", policy)
    assert code == ExitCode.DATA
    assert "certify.jsonl:681:1: D201" in err


def test_a_policy_with_a_background_of_its_own_is_compiled_against_that(policy: Path, run: Run) -> None:
    shared, own = (policy.parent / "data" / name for name in ("background.jsonl", "flyers.background.jsonl"))
    own.write_text("".join(shared.read_text().splitlines(keepends=True)[:50]))
    _, out, _ = run("policy", "compile", policy, "--json")
    assert json.loads(out)["evidence"]["background"]["benign"] == 50
    _, out, _ = run("policy", "compile", policy, "--json", "--background", shared)
    assert json.loads(out)["evidence"]["background"]["benign"] == 200
    own.rename(own.with_name("posters.background.jsonl"))  # another policy's
    _, out, _ = run("policy", "compile", policy, "--json")
    assert json.loads(out)["evidence"]["background"]["benign"] == 200


def test_manifests_that_overlap_are_refused_by_compile_as_by_lint(policy: Path, run: Run) -> None:
    data = policy.parent / "data"
    taken = json.loads((data / "fit.jsonl").read_text().splitlines()[0])
    rows = [taken | {"cluster": "renamed"}, {"text": "new", "target": False, "cluster": "fit-3"}]
    with (data / "certify.jsonl").open("a") as stream:
        stream.write("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = run("policy", "compile", policy)
    assert code == ExitCode.DATA
    assert f"certify.jsonl:681:1: D007: content (there of cluster 'fit-0') is also in {data / 'fit.jsonl'}:1" in err
    assert "certify.jsonl:682:1: D007: cluster 'fit-3' is also in" in err
    assert not policy.with_name("flyers.lock.json").exists()
    told = run("policy", "lint", policy)[1].replace(" error:", ":")
    assert all(line in told for line in err.splitlines()[:-1])


def test_a_manifest_that_comes_later_does_not_stop_compile(policy: Path, run: Run) -> None:
    (policy.parent / "data" / "certify.jsonl").unlink()
    assert run("policy", "compile", policy)[0] == ExitCode.OK


def test_rows_that_compile_leaves_out_are_named_the_first_few_with_their_path(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Reads(WordEncoder):
        """Every picture but torn ones."""

        def encode_images(self, images: Sequence[bytes]) -> Encoded:
            return super().encode_images([b"" if b"torn" in one else b"picture" for one in images])

    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: Reads())
    policy.write_text(POLICY.replace("modalities: [text]", "modalities: [image]"))
    data = policy.parent / "data"
    rows = [{"text": "good morning", "target": False, "cluster": "words"}]
    for number in range(9):
        content = b"torn" if number else b"whole"
        (data / f"{number}.png").write_bytes(content + b" %d" % number)
        digest = hashlib.sha256((data / f"{number}.png").read_bytes()).hexdigest()
        rows.append({"path": f"{number}.png", "sha256": digest, "target": number < 4, "cluster": f"p{number}"})
    (data / "fit.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (data / "background.jsonl").unlink()
    code, out, err = run("policy", "compile", policy)
    assert code == ExitCode.OK, err
    named = [line for line in err.splitlines() if "D200" in line]
    assert named[0].endswith("fit.jsonl:1:1: D200: the text is left out: the policy judges no text")
    assert f"fit.jsonl:3:1: D200: {data / '1.png'} is left out: unsupported_input" in named[1]
    assert len(named) == 5
    assert "and 4 more are left out, 9 of 10 rows in all" in err
    assert "fit: 10 rows, 9 left out" in out
    (data / "torn.png").write_bytes(b"torn")
    torn = {"path": "torn.png", "sha256": hashlib.sha256(b"torn").hexdigest(), "target": True, "cluster": "torn"}
    (data / "certify.jsonl").write_text(json.dumps(torn))
    code, _, err = run("policy", "certify", policy)
    assert (code, f"certify.jsonl:1:1: D200: {data / 'torn.png'} cannot be judged" in err) == (ExitCode.DATA, True)


def test_certify_before_compile_says_what_to_run(policy: Path, run: Run) -> None:
    code, _, err = run("policy", "certify", policy)
    assert code == ExitCode.ENCODER
    assert f"run: moderation policy compile {policy}" in err


@pytest.mark.parametrize("step", ["certify", "test"])
def test_a_policy_that_changed_must_be_compiled_again(certified: Path, run: Run, step: str) -> None:
    certified.write_text(POLICY.replace("cheap pills", "cheap tablets"))
    code, _, err = run("policy", step, certified)
    assert code == ExitCode.ENCODER
    assert "compile and certify it again" in err


def test_scan_refuses_a_policy_file_whose_lock_is_older_than_it(certified: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "a.txt").write_text("cheap discount pills")
    code, out, _ = run("scan", tmp_path / "a.txt", "--policy", certified, "--json")
    assert (code, json.loads(out)["verdicts"][0]["outcome"]) == (ExitCode.OK, "match")
    certified.write_text(POLICY.replace("cheap pills", "cheap tablets"))
    assert run("scan", tmp_path / "a.txt", "--policy", certified)[0] == ExitCode.ENCODER


def test_the_tests_pass_and_are_told_to_people_and_machines(certified: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("policy", "test", certified, "--junit", tmp_path / "junit.xml")
    assert code == ExitCode.OK
    assert ": 2 passed\n" in out
    assert "concepts: 1 of 2 covered; nothing tests greeting (write `covers: [greeting]` on a case)\n" in out
    assert out.endswith(f"next: moderation policy release {certified} --to shadow --by TEAM\n")
    assert 'tests="2" failures="0"' in (tmp_path / "junit.xml").read_text()
    found = json.loads(run("policy", "test", certified, "--json")[1])
    assert (found["passed"], found["revision"]) == (True, read_lock(certified.with_name("flyers.lock.json")).revision)
    assert found["coverage"]["concepts"] == {"share": 0.5, "covered": ["pills"], "missing": ["greeting"]}
    assert run("policy", "test", certified, "--min-coverage", "0.5")[0] == ExitCode.OK
    assert run("policy", "test", certified, "--min-coverage", "0.6")[0] == ExitCode.TESTS_FAILED


def test_a_known_gap_that_passes_fails_a_strict_run(certified: Path, run: Run) -> None:
    tests = certified.parent / "tests" / "flyers.yaml"
    tests.write_text(tests.read_text() + "todo:\n  - {id: gap, item: {text: cheap pills}, expect: at_least review}\n")
    code, out, _ = run("policy", "test", certified)
    assert code == ExitCode.OK
    assert "passes now: flyers/gap" in out
    assert run("policy", "test", certified, "--strict")[0] == ExitCode.TESTS_FAILED


def test_a_failing_test_fails_the_command(certified: Path, run: Run) -> None:
    tests = certified.parent / "tests" / "flyers.yaml"
    tests.write_text(tests.read_text() + "  - {id: wrong, item: {text: cheap pills}, expect: no_match}\n")
    code, out, _ = run("policy", "test", certified)
    assert code == ExitCode.TESTS_FAILED
    assert "FAILED: flyers/wrong: expected no_match, found match (score " in out


def test_tests_on_an_uncertified_lock_fail(policy: Path, run: Run) -> None:
    run("policy", "compile", policy)
    code, out, _ = run("policy", "test", policy)
    assert code == ExitCode.TESTS_FAILED
    assert out.startswith("not certified: decisions are drafts")
    step = f"run: moderation policy certify {policy}"
    assert out.splitlines()[0] == f"{lock_words.UNCERTIFIED}, so that no test can pass; {step}"
    assert out.endswith(": 2 failed\n")  # that nothing is covered would read as if no test were there
    found = json.loads(run("policy", "test", policy, "--json")[1])
    assert {result["message"].rpartition(": ")[2] for result in found["results"]} == {"uncertified"}


def test_thresholds_are_certified_where_the_lock_was_compiled(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(WordEncoder):
        """The same weights on another kind of machine: every vector a little off."""

        def __init__(self) -> None:
            super().__init__()
            self.fingerprint = Fingerprint(self.fingerprint.identity, "elsewhere")

        def encode_text(self, texts: Sequence[str]) -> Encoded:
            found = super().encode_text(texts)
            vectors = found.vectors.astype(np.float32) + np.float32(0.005) * np.eye(1, found.vectors.shape[1])
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            return Encoded(vectors.astype(np.float16), found.errors)

    run("policy", "compile", policy)
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: Elsewhere())
    code, _, err = run("policy", "certify", policy)
    assert code == ExitCode.ENCODER
    assert "was compiled on words, the encoder runs as elsewhere" in err
    assert "run: moderation policy compile, then certify, again here" in err
    assert "(words): encoders.default.dtype" in err


def test_another_promise_on_the_same_targets_is_told_to_be_another_question(certified: Path, run: Run) -> None:
    assert "WARNING: question" not in run("policy", "show", certified)[1]
    certified.write_text(certified.read_text().replace("at_least: 0.8,", "at_least: 0.7,"))
    run("policy", "compile", certified)
    assert "WARNING: question 2 to the same targets" in run("policy", "certify", certified)[1]
    assert "WARNING: question 2 to the same targets" in run("policy", "show", certified)[1]


def test_a_broken_lock_in_the_place_is_replaced_with_a_word(certified: Path, run: Run) -> None:
    lock = certified.with_name("flyers.lock.json")
    lock.write_text("{")
    code, _, err = run("policy", "compile", certified)
    assert (code, "no longer counted" in err) == (ExitCode.OK, True)


def test_show_tells_what_a_certified_policy_will_do(certified: Path, run: Run) -> None:
    code, out, _ = run("policy", "show", certified)
    assert code == ExitCode.OK
    assert ": certified\n" in out
    assert "remove: precision at least 0.5, confidence 0.9: certified at threshold" in out
    found = json.loads(run("policy", "show", certified, "--json")[1])
    assert (found["lock_is"], found["policy"]["id"], found["lock"]["policy"]) == ("certified", "flyers", "flyers")


def test_show_tells_what_the_policy_rests_on_and_that_an_uncertified_one_decides_nothing(
    policy: Path, run: Run
) -> None:
    run("policy", "compile", policy)
    (policy.parent / "data" / "certify.jsonl").write_text("not a row")
    out = run("policy", "show", policy)[1]
    assert f"  {lock_words.UNCERTIFIED}\n" in out
    assert f"  tests: {policy.parent / 'tests' / 'flyers.yaml'} (2 cases)\n" in out
    assert "fit.jsonl (4 violating and 6 benign targets of 10 objects)" in out
    assert "certify.jsonl (missing or not sound: moderation policy lint tells)" in out
    rests_on = json.loads(run("policy", "show", policy, "--json")[1])["rests_on"]
    assert list(rests_on["tests"].values()) == [{"cases": 2, **dict.fromkeys(NO_TESTS, 0)}]
    assert rests_on["data"]["fit"]["counts"] == {"violating": 4, "benign": 6, "objects": 10}
    assert rests_on["data"]["certify"]["counts"] is None


def test_show_names_detectors_and_says_which_files_lint_should_see(policy: Path, run: Run) -> None:
    policy.write_text(POLICY + "detectors: [keywords/pills, shapes]\n")
    tests = policy.parent / "tests" / "flyers.yaml"
    tests.write_text(
        tests.read_text() + "degenerate: [blank, noise]\ntodo: [{id: gap, item: {text: a}, expect: match}]\n"
    )
    out = run("policy", "show", policy)[1]
    assert "  other detectors: keywords/pills, shapes\n" in out
    assert f"  tests: {tests} (2 cases, 2 degenerate kinds, 1 known gap)\n" in out
    tests.write_text("suite: flyers\n")
    assert (
        f"  tests: {tests} (missing or not sound: moderation policy lint tells)\n" in run("policy", "show", policy)[1]
    )


def test_show_tells_the_versions_of_the_plugins_that_count(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought = plugins_with(FakeDetector("keywords", labels=("pills",)))
    records = (
        PluginRecord("keywords", "acme-keywords", "2.0", PluginState.LOADED, detectors=("keywords",)),
        PluginRecord("ocr", "acme-ocr", "3.0", PluginState.LOADED, encoders=("torch",)),
        PluginRecord("other", "acme-other", "4.0", PluginState.LOADED, detectors=("other",)),
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: replace(brought, records=records))
    policy.write_text(POLICY + "detectors: [keywords/pills]\n")
    code, out, err = run("policy", "compile", policy)
    assert code == ExitCode.OK, out + err
    versions = json.loads(run("policy", "show", policy, "--json")[1])["lock"]["evidence"]["versions"]
    assert set(versions) == {"acme-keywords", "acme-ocr", "moderation", "numpy", "scipy"}
    assert (versions["acme-keywords"], versions["acme-ocr"]) == ("2.0", "3.0")


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("keyword", "the detector 'keyword', which no plugin provides; did you mean 'keywords'?"),
        ("keywords/pill", "detector 'keywords' has no label 'pill'; did you mean 'pills'?"),
        ("flyers", "'flyers' is a policy's id and a plugin detector's; expected different names"),
    ],
)
def test_compile_asks_the_plugins_for_every_detector(
    named: str, says: str, policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> object:
        raise AssertionError("an encoder is loaded before it is known that the policy can be compiled")

    run("policy", "compile", policy)
    path = policy.with_name("flyers.lock.json")
    before = replace(read_lock(path), detectors=(named,))
    brought = plugins_with(FakeDetector("keywords", labels=("pills",)), FakeDetector("flyers"))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: brought)
    # What scan says of a lock with such a detector, compile says of the policy, in the same words; where the policy is wrong, at its line and
    # with lint's code.
    write_lock(before, path)
    later = run("scan", policy.parent / "data", "--policy", path)
    path.unlink()
    monkeypatch.setattr("moderation.assemble.encoder", refuse)
    policy.write_text(POLICY + f"detectors: [{named}]\n")
    code, _, err = run("policy", "compile", policy)
    same = later[2].splitlines()[-1].removeprefix("error: ")
    if named == "keyword":
        assert (code, err) == (ExitCode.PLUGIN, f"error: {same}\n")
    else:
        line = POLICY.count("\n") + 1
        assert (code, err) == (ExitCode.POLICY, f"{policy}:{line}:13: P114: {same}\nerror: 1 policy problem\n")
        assert f"{policy}:{line}:13: P114 error: {same}\n" in run("policy", "lint", policy)[1]
    assert says in err
    assert not path.exists()


def test_compile_asks_for_each_detector_once(policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = [], Plugins.detector

    def detector(plugins: Plugins, id_: str, *, needed_by: str) -> Detector:
        asked.append(id_)
        return answer(plugins, id_, needed_by=needed_by)

    brought = plugins_with(FakeDetector("keywords", labels=("pills",)), FakeDetector("other"))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: brought)
    monkeypatch.setattr(Plugins, "detector", detector)
    policy.write_text(POLICY + "detectors: [keywords/pills, other]\n")
    assert run("policy", "compile", policy)[0] == ExitCode.OK
    assert asked == ["keywords", "other"]


def test_a_detector_that_raises_ends_certification_with_its_name(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_batch: object) -> object:
        raise KeyError("content")

    brought = plugins_with(FakeDetector("keywords", fail))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: brought)
    policy.write_text(POLICY + "detectors: [keywords]\n")
    assert run("policy", "compile", policy)[0] == ExitCode.OK
    code, _, err = run("policy", "certify", policy)
    assert code == ExitCode.PLUGIN
    assert sum("D008" not in line and "in all" not in line for line in err.splitlines()) == 1
    assert "detector 'keywords': failed while targets of policy 'flyers' were scored: detector_error (KeyError)" in err
    assert "content" not in err


def test_what_is_fitted_on_cannot_certify_which_compile_says_already(policy: Path, run: Run) -> None:
    data = policy.parent / "data"
    (data / "certify.jsonl").write_text((data / "certify.jsonl").read_text() + (data / "fit.jsonl").read_text())
    code, _, err = run("policy", "compile", policy)
    assert code == ExitCode.DATA
    assert "D007" in err


def test_show_knows_a_missing_an_uncertified_and_a_stale_lock(policy: Path, run: Run) -> None:
    def state() -> str:
        return str(json.loads(run("policy", "show", policy, "--json")[1])["lock_is"])

    assert state() == "missing"
    run("policy", "compile", policy)
    assert state() == "uncertified"
    policy.write_text(POLICY.replace("cheap pills", "cheap tablets"))
    assert state() == "stale"


def test_recall_that_the_budget_cannot_hold_fails_with_the_curve_between_the_two(policy: Path, run: Run) -> None:
    policy.write_text(POLICY.replace("budget: 0.5", "budget: 0.02"))
    run("policy", "compile", policy)
    code, out, _ = run("policy", "certify", policy)
    assert code == ExitCode.NOT_CERTIFIED
    assert "review: recall at least 0.8, confidence 0.9: cannot certify: the promise holds at" in out
    head, *table = (line.split() for line in out.partition("had been fixed in advance:\n")[2].splitlines())
    assert head[:4] == ["threshold", "recall", "at", "least"]
    assert sum(len(row) == 5 and row[2].endswith("%") for row in table) >= 3
    (review,) = [
        one for one in json.loads(run("policy", "certify", policy, "--json")[1])["actions"] if one["action"] == "review"
    ]
    keys = {"threshold", "recall_lower", "share_upper", "flagged_violating", "flagged_benign"}
    assert all(set(point) == keys for point in review["shortfall"]["trade_off"])
    assert "recall and traffic" in run("policy", "show", policy)[1]


def test_bands_and_the_calibration_are_told_by_certify_and_show(certified: Path, run: Run) -> None:
    told = run("policy", "show", certified)[1]
    assert "bands: remove from " in told
    assert "calibrated at prevalence 0.075, for readers: sigmoid, for 80 clusters of the smaller class" in told
    assert "remove is expected to get " in told
    found = json.loads(run("policy", "show", certified, "--json")[1])["lock"]
    assert [one["action"] for one in found["bands"]] == ["remove", "review"]
    assert found["evidence"]["calibration"]["method"] == "sigmoid"


SLOGAN = "cheap pills and discount tablets for every friend in town, see the market street today or again tomorrow"


def test_a_near_copy_of_what_it_was_made_from_cannot_certify(policy: Path, run: Run) -> None:
    data = policy.parent / "data"
    for name, text in (("fit", SLOGAN), ("certify", SLOGAN.upper() + "!")):
        with (data / f"{name}.jsonl").open("a") as stream:
            stream.write(json.dumps({"text": text, "target": True, "cluster": f"{name}-slogan"}) + "\n")
    assert run("policy", "compile", policy)[0] == ExitCode.OK
    code, _, err = run("policy", "certify", policy)
    assert code == ExitCode.DATA
    assert "certify.jsonl:681:1: D008: the text of cluster 'certify-slogan' is nearly the same as" in err
    assert f"{data / 'fit.jsonl'}:11, cluster 'fit-slogan'; what a classifier is made from" in err
    assert "take one of the two rows out" in err


def test_a_background_that_holds_a_copy_of_a_violating_target_is_refused(policy: Path, run: Run) -> None:
    data = policy.parent / "data"
    for name, text in (("fit", SLOGAN), ("background", SLOGAN + ".")):
        with (data / f"{name}.jsonl").open("a") as stream:
            stream.write(json.dumps({"text": text, "target": name == "fit", "cluster": f"{name}-slogan"}) + "\n")
    code, _, err = run("policy", "compile", policy)
    assert code == ExitCode.DATA
    assert "background.jsonl:201:1: D008" in err


@pytest.mark.parametrize("manifest", ["fit", "certify"])
def test_a_background_that_shares_a_cluster_is_refused(policy: Path, run: Run, manifest: str) -> None:
    data = policy.parent / "data"
    shared = json.loads((data / f"{manifest}.jsonl").read_text().splitlines()[0])["cluster"]
    with (data / "background.jsonl").open("a") as stream:
        stream.write(json.dumps({"text": "a thing of its own", "target": False, "cluster": shared}) + "\n")
    code, _, err = run("policy", "compile", policy)
    assert code == ExitCode.DATA
    assert f"background.jsonl:201:1: D007: cluster '{shared}' is also in {data / f'{manifest}.jsonl'}:1" in err
    code, out, _ = run("policy", "lint", policy)
    assert code == ExitCode.POLICY
    assert "background.jsonl:201:1: D007" in out


def test_a_background_that_is_named_elsewhere_is_looked_through_by_certify_too(policy: Path, run: Run) -> None:
    data = policy.parent / "data"
    elsewhere = (data / "background.jsonl").rename(data / "elsewhere.jsonl")
    for path, target in ((elsewhere, False), (data / "certify.jsonl", True)):
        with path.open("a") as stream:
            row = {"text": SLOGAN + "!" * target, "target": target, "cluster": f"slogan {target}"}
            stream.write(json.dumps(row) + "\n")
    assert run("policy", "compile", policy, "--background", elsewhere)[0] == ExitCode.OK
    code, _, err = run("policy", "certify", policy, "--background", elsewhere)
    assert (code, "certify.jsonl:681:1: D008" in err) == (ExitCode.DATA, True)
    _, out, _ = run("policy", "certify", policy)
    assert "contents or clusters that the classifier was made from are in no manifest now" in out


def test_one_object_under_two_clusters_counts_once_and_is_told(policy: Path, run: Run) -> None:
    with (policy.parent / "data" / "certify.jsonl").open("a") as stream:
        for number in range(8):
            row = {"text": SLOGAN + "!" * number, "target": True, "cluster": f"slogan-{number}"}
            stream.write(json.dumps(row) + "\n")
    run("policy", "compile", policy)
    code, _, err = run("policy", "certify", policy)
    assert code == ExitCode.OK
    assert err.count("D008") == 5
    assert "they count as one object; expected one cluster" in err
    (counts,) = re.findall(r"and (\d+) more that are nearly another row of another cluster, (\d+) in all", err)
    more, everyone = map(int, counts)
    assert everyone == more + 5 >= 7
    evidence = read_lock(policy.with_name("flyers.lock.json")).evidence["certify"]
    assert evidence["targets"]["violating"] == 88
    assert evidence["clusters"]["violating"] <= 81
    assert f"WARNING: {everyone} clusters hold a near-duplicate" in run("policy", "show", policy)[1]


def test_items_of_several_parts_are_certified_whole_and_decided_up_to_as_many(policy: Path, run: Run) -> None:
    manifest = policy.parent / "data" / "certify.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows[:10]:
        row["parts"] = [{"text": row.pop("text")}, {"text": "see you soon"}, {"text": "hello friend"}]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in ("lint", "compile", "certify"):
        code, out, err = run("policy", step, policy)
        assert code == ExitCode.OK, out + err
    lock = read_lock(policy.with_name("flyers.lock.json"))
    assert lock.max_parts == 3
    assert lock.evidence["certify"]["targets"] == {"violating": 80, "benign": 600}


def test_a_policy_is_certified_with_the_readers_in_force_and_refused_without_them(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = FakeReader("silent", lambda parts: [()] * len(parts), reads=(Modality.TEXT,))
    echo = FakeReader(
        "echo", lambda parts: [[Part.text(one.content.decode())] * 2 for one in parts], reads=(Modality.TEXT,)
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: plugins_with(readers=(echo, silent)))
    path = policy.with_name("flyers.lock.json")
    assert run("policy", "compile", policy)[0] == ExitCode.OK
    for use, told in ((("echo",), "up to 2 parts of an item"), (("silent", "echo"), "reader 'silent' derived nothing")):
        monkeypatch.setenv("MODERATION_READERS__USE", json.dumps(use))
        code, out, err = run("policy", "certify", policy)  # with other readers than before
        assert code == ExitCode.OK, out + err
        assert told in out
        assert told in run("policy", "show", policy)[1]
    lock = read_lock(path)
    assert (lock.max_parts, {one.id: one.most_parts for one in lock.readers}) == (1, {"echo": 2, "silent": 0})
    assert run("policy", "test", policy)[0] == ExitCode.OK
    (policy.parent / "note.txt").write_text("cheap discount pills")
    scan = ("scan", policy.parent / "note.txt", "--policy", policy, "--json")
    assert json.loads(run(*scan)[1])["verdicts"][0]["outcome"] == "match"
    monkeypatch.setenv("MODERATION_READERS__USE", "[]")
    code, _, err = run(*scan)
    assert code == ExitCode.ENCODER
    assert "certified with reader 'silent', which is not in force" in " ".join(err.split())
    assert run("policy", "certify", policy)[0] == ExitCode.OK
    assert read_lock(path).readers == ()
    assert json.loads(run(*scan)[1])["verdicts"][0]["outcome"] == "match"
    monkeypatch.setenv("MODERATION_READERS__USE", '["echo"]')
    (held,) = json.loads(run(*scan)[1])["verdicts"]
    assert (held["outcome"], held["action"]) == ("review", "review")


def test_thresholds_are_certified_on_the_score_that_other_detectors_labels_may_raise(
    policy: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = FakeDetector(
        "keywords",
        lambda batch: [(Score("pills", 0.999 if b"cheap" in part.content else 0.0),) for part in batch.parts],
        labels=("pills",),
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: plugins_with(sure))
    policy.write_text(POLICY + "detectors: [keywords/pills]\n")
    for step in ("compile", "certify"):
        assert run("policy", step, policy)[0] == ExitCode.OK
    raised = read_lock(policy.with_name("flyers.lock.json")).evidence["certify"]["histogram"]["violating"][-1]
    rows = [json.loads(line) for line in (policy.parent / "data" / "certify.jsonl").read_text().splitlines()]
    assert raised >= sum("cheap" in row["text"] for row in rows if row["target"]) > 0


def test_a_classifier_is_fitted_on_single_parts_only(policy: Path, run: Run) -> None:
    with (policy.parent / "data" / "fit.jsonl").open("a") as stream:
        row = {"parts": [{"text": "cheap pills"}, {"text": "see you"}], "target": True, "cluster": "whole"}
        stream.write(json.dumps(row) + "\n")
    code, _, err = run("policy", "compile", policy)
    assert code == ExitCode.DATA
    assert "fit.jsonl:11:1: D003: an item of 2 parts: expected one part" in err


def test_a_decision_is_explained_under_its_own_revision_and_no_other(certified: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "note.txt").write_text("cheap discount pills")
    decisions = tmp_path / "decisions.jsonl"
    assert run("scan", tmp_path / "note.txt", "--policy", certified, "--out", decisions)[0] == ExitCode.OK
    code, out, _ = run("policy", "explain", certified, decisions, "--puid", "p-1")
    assert code == ExitCode.OK
    assert "The rule says: A flyer that sells pills." in out
    assert "puid: p-1" in out
    assert "category: missing" in out
    found = json.loads(run("policy", "explain", certified, decisions, "--json")[1])
    assert found["schema"] == "statement-of-reasons/v1"
    line = decisions.read_text()
    decisions.write_text(line + line)
    assert [json.loads(one) for one in run("policy", "explain", certified, decisions, "--json")[1].splitlines()] == [
        found
    ] * 2
    decisions.write_text(line)
    code, _, err = run("policy", "explain", certified, decisions, "--item-id", "nobody")
    assert code == ExitCode.DATA
    assert "holds no decision on item 'nobody'" in err
    for option, value in (("--category", "FOO"), ("--content-date", "yesterday"), ("--source-type", "SOURCE_X")):
        code, _, err = run("policy", "explain", certified, decisions, option, value)
        assert (code, f"found '{value}'" in " ".join(err.split())) == (ExitCode.USAGE, True)
    changed = json.loads(decisions.read_text())
    decisions.write_text(json.dumps(changed | {"item_id": "a\nitem b, decision c"}))
    assert "\nitem a\\u000aitem b, decision c, decision " in "\n" + run("policy", "explain", certified, decisions)[1]
    changed["verdicts"][0]["revision"] = "0" * 16
    decisions.write_text(json.dumps(changed) + "\nnonsense\n")
    code, _, err = run("policy", "explain", certified, decisions)
    assert code == ExitCode.ENCODER
    assert f"revision {'0' * 16}" in err
    decisions.write_text("nonsense\n")
    code, _, err = run("policy", "explain", certified, decisions)
    assert code == ExitCode.DATA
    assert "decisions.jsonl:1:1: D003" in err


def test_a_build_is_released_on_evidence_and_decisions_say_so(certified: Path, tmp_path: Path, run: Run) -> None:
    def release(*words: str) -> tuple[int, str]:
        code, out, _ = run("policy", "release", certified, "--by", "market-safety", *words)
        return code, out

    code, out = release("--to", "live")
    assert code == ExitCode.RELEASE_REFUSED
    assert f"test: no report of the policy's tests lies beside the lock; run: moderation policy test {certified}" in out
    assert "audit: the policy declares no audit" in out
    assert not certified.with_name("flyers.release.json").exists()
    assert "status: draft; tests: not run; audit: none is declared\n" in run("policy", "show", certified)[1]
    code, out = release("--to", "shadow")
    assert (code, out.splitlines()[-1]) == (ExitCode.OK, f"next: moderation policy test {certified}")
    assert run("policy", "test", certified)[0] == ExitCode.OK
    live = f"moderation policy release {certified} --to live --by TEAM --no-audit-reason 'why there is none'"
    assert release("--to", "shadow")[1].splitlines()[-1] == f"next: {live}"
    code, out = release("--to", "live", "--no-audit-reason", "nobody is shown")
    assert (code, "live" in out) == (ExitCode.OK, True)
    record = json.loads(certified.with_name("flyers.release.json").read_text())
    assert [one["status"] for one in record["changes"]] == ["shadow", "shadow", "live"]
    assert record["changes"][-1]["by"] == "market-safety"
    assert set(record["changes"][-1]["evidence"]) == {"flyers.lock.json", "flyers.tests.json"}
    shown = run("policy", "show", certified)[1]
    assert "status: live; tests: passed; audit: none is declared\n" in shown
    day = record["changes"][-1]["date"]
    assert f"  live since {day}, by market-safety, on record: no audit: nobody is shown\n" in shown
    shown = json.loads(run("policy", "show", certified, "--json")[1])
    assert (shown["status"], shown["recorded"]) == ("live", record["changes"][-1])
    (tmp_path / "note.txt").write_text("cheap discount pills")
    told = run("scan", tmp_path / "note.txt", "--policy", certified, "--json")[1]
    assert json.loads(told)["verdicts"][0]["status"] == "live"
    assert json.loads(told)["action"] == json.loads(told)["proposed"] != "allow"
    code, out, _ = run("policy", "release", certified, "--by", "x", "--to", "live", "--json")
    assert code == ExitCode.RELEASE_REFUSED
    assert json.loads(out)["missing"][0]["gate"] == "audit"


def test_who_builds_in_the_place_of_the_live_build_is_told_what_that_does(
    certified: Path, tmp_path: Path, run: Run
) -> None:
    said = "WARNING: the build that was live here, revision "
    certified.write_text(certified.read_text().replace("at_least: 0.8,", "at_least: 0.7,"))
    assert said not in run("policy", "compile", certified)[2]  # no build was live
    assert said not in run("policy", "certify", certified)[2]
    run("policy", "test", certified)
    words = ("--by", "x", "--to", "live", "--no-audit-reason", "nobody is shown")
    assert run("policy", "release", certified, *words)[0] == ExitCode.OK
    live = read_lock(certified.with_name("flyers.lock.json")).revision
    assert said not in run("policy", "certify", certified)[2]  # the same build again
    for out in (("--out", tmp_path / "elsewhere"), ()):
        code, _, err = run("policy", "compile", certified, *out)
        assert (code, f"{said}{live}, is replaced" in err) == (ExitCode.OK, not out)
    certified.with_name("flyers.release.json").write_text("{")
    assert run("policy", "compile", certified)[0] == ExitCode.OK


def test_evidence_is_of_the_files_as_they_read_now(certified: Path, run: Run) -> None:
    def missing() -> list[str]:
        _, out, _ = run(
            "policy", "release", certified, "--by", "x", "--to", "live", "--no-audit-reason", "nobody", "--json"
        )
        return [f"{one['gate']}: {one['why']}" for one in json.loads(out)["missing"]]

    assert run("policy", "test", certified, "--min-coverage", "1")[0] == ExitCode.TESTS_FAILED
    assert missing() == ["test: the policy's tests fail"]
    assert run("policy", "test", certified)[0] == ExitCode.OK
    for gate, file in (
        ("test", certified.parent / "tests" / "flyers.yaml"),
        ("certify", certified.parent / "data" / "certify.jsonl"),
    ):
        before = file.read_text()
        file.write_text(before + "\n")
        told = f"{file.relative_to(certified.parent).as_posix()} reads otherwise than when the evidence was made"
        assert missing() == [f"{gate}: {told}"]
        file.write_text(before)
    certified.with_name("flyers.tests.json").write_text("[" * 100_000)
    code, _, err = run("policy", "release", certified, "--by", "x", "--to", "live")
    assert code == ExitCode.DATA
    assert "flyers.tests.json" in err


def test_kept_vectors_tell_what_a_build_would_have_done(certified: Path, tmp_path: Path, run: Run) -> None:
    stream, kept = certified.parent / "data" / "certify.jsonl", tmp_path / "vectors"
    code, out, err = run("policy", "embed", stream, "--policy", "flyers", "--out", kept)
    assert code == ExitCode.OK, err
    assert out.startswith("kept 680 items, 680 vectors of encoder 0123456789abcdef")
    lock = certified.with_name("flyers.lock.json")
    words = ("policy", "backtest", certified, "--vectors", kept, "--lock", lock, "--before", lock)
    code, out, _ = run(*words)
    assert code in {ExitCode.OK, ExitCode.OVER_BUDGET}
    assert " to " not in out.partition("before, after")[2]
    found = json.loads(run(*words, "--json")[1])
    assert (found["bump"], found["compared"]["flips"]) == ("none", [])
    decided = run("scan", stream, "--policy", certified, "--json")[1].splitlines()
    acted = sum(json.loads(line)["proposed"] in {"review", "remove"} for line in decided)
    taken = next(one["taken"] for one in found["after"]["loads"]["loads"] if one["action"] == "review")
    assert (taken["hits"], taken["trials"]) == (acted, 680)
    assert (code == ExitCode.OVER_BUDGET) == bool(found["over_budget"])
