"""The gallery of shipped policies: each is clean, whole and attributed, its lock is what it is built into, and the table tells what it does."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from moderation import assemble
from moderation.cli import main
from moderation.cli.policy_lint import lint_all
from moderation.policy.inputs import changed_inputs, input_name
from moderation.policy.loader import load_policy
from moderation.policy.lock import Lock, lock_path, read_lock
from moderation.policy.manifest import load_manifest
from moderation.policy.polarity import Expected, expected
from moderation.policy.schema import Policy
from moderation.release.suite_file import load_suites
from moderation.settings import Settings, load_settings
from tests.conftest import ROOT

POLICIES = ROOT / "policies"
NAMES = sorted(path.stem for path in POLICIES.glob("*.yaml"))
MANIFESTS = sorted((POLICIES / "data").glob("*.jsonl"))
LICENCES = {"Apache-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC0-1.0", "MIT"}
QUICK = (
    "gambling",
    "hateful-emoji",
    "gore",
)  # by exemplars, on texts, fitted and certified; the others are rebuilt by `make soak`
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def shipped(name: str) -> tuple[Policy, Lock]:
    return load_policy(POLICIES / f"{name}.yaml", action_names=Settings().actions), read_lock(lock_path(POLICIES, name))


@pytest.fixture
def deal(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """examples/gallery_pictures/deal.py."""
    monkeypatch.syspath_prepend(ROOT / "examples" / "gallery_pictures")
    return importlib.import_module("deal")


@pytest.fixture
def copied(gallery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped policies in a folder that may be written in, as the gallery's."""
    folder = tmp_path / "policies"
    folder.mkdir()
    for one in POLICIES.iterdir():
        if one.name == "README.md" or ".lock." in one.name:
            (folder / one.name).write_bytes(one.read_bytes())
        else:
            (folder / one.name).symlink_to(one)
    monkeypatch.setattr(gallery, "POLICIES", folder)
    monkeypatch.setattr(gallery, "BUILD", tmp_path / "build")
    return folder


def cells(name: str, folder: Path = POLICIES) -> list[str]:
    """The policy's row in the table, without its name."""
    (row,) = re.findall(
        rf"^\| \[{name}\]\({name}\.yaml\) \| (.*) \|$", (folder / "README.md").read_text(), re.MULTILINE
    )
    return str(row).split(" | ")


def alike(told: str, found: str) -> bool:
    """The same words, and numbers that another processor's last digits may move: a count by one or two, a figure by a twentieth."""
    numbers = [[float(one) for one in NUMBER.findall(text)] for text in (told, found)]
    return NUMBER.sub("#", told) == NUMBER.sub("#", found) and all(
        one == pytest.approx(other, rel=0.05, abs=2 if one >= 5 else 0.02) for one, other in zip(*numbers, strict=True)
    )


def test_there_are_eight_and_five_of_them_promise_something() -> None:
    acting = [name for name in NAMES if any(one.threshold is not None for one in shipped(name)[1].actions)]
    assert len(NAMES) >= 8
    assert len(acting) >= 5
    assert {"image", "text"} == {one for name in NAMES for one in shipped(name)[0].scope.modalities}


def test_lint_finds_nothing_but_that_four_hold_nothing_back_while_nothing_of_them_is_certified() -> None:
    acting = {name for name in NAMES if any(one.threshold is not None for one in shipped(name)[1].actions)}
    found = lint_all([POLICIES], load_settings()).findings
    assert {(one.code, one.path.stem) for one in found} == {("P113", name) for name in {*NAMES} - acting}


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_tests_both_what_it_forbids_and_what_it_allows(name: str) -> None:
    policy, _ = shipped(name)
    assert load_suites(policy.tests, policy=policy)
    assert set().union(*(expected(path) or () for path in policy.tests)) == set(Expected)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_row_says_where_it_comes_from_and_on_what_terms(path: Path) -> None:
    rows = load_manifest(path)
    assert all(row.source for row in rows)
    assert {row.licence for row in rows} <= LICENCES
    told = (POLICIES / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for row in rows:
        if row.text is not None:
            assert f"github.com/{row.source}" in told
        else:
            assert hashlib.sha256(row.path.read_bytes()).hexdigest() == row.sha256


def test_no_tweet_names_a_user_or_a_page() -> None:
    for path in (POLICIES / "data").glob("hate.*.jsonl"):
        for row in load_manifest(path):
            assert set(re.findall(r"@\w+", row.text or "")) <= {"@user"}
            assert not re.search(r"://|\bt\.co/\w", row.text or "")


def test_the_manifests_of_pictures_are_what_the_script_makes(deal: ModuleType) -> None:
    folder = POLICIES / "data"
    made = dict(deal.manifests(deal.read_rules(), deal.read_pictures(folder), deal.read_background(folder)))
    assert len(made) >= 12
    for name, rows in made.items():
        kept = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line) for line in kept] == rows, name


def test_a_name_that_no_picture_shows_is_refused(deal: ModuleType) -> None:
    rule = {"violating": ["unicorn"], "lookalike": [], "ambiguous": []}
    with pytest.raises(KeyError, match="unicorn"):
        deal.deal("mythical", rule, {"horse": []}, "salt")


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_is_of_the_policy_and_the_manifests_that_lie_beside_it(name: str) -> None:
    policy, lock = shipped(name)
    assert lock.policy_hash == policy.content_hash
    inputs = {
        name: digest
        for part in ("fit", "exemplars", "certify")
        for name, digest in lock.evidence[part]["inputs"].items()
    }
    assert policy.data.certify is not None
    assert input_name(policy.data.certify, POLICIES) in inputs
    assert changed_inputs(inputs, POLICIES) == []


@pytest.mark.usefixtures("encoded_once")
@pytest.mark.parametrize("name", NAMES)
def test_a_lock_passes_its_tests_and_the_table_tells_what_it_does(
    name: str, gallery: ModuleType, tmp_path: Path
) -> None:
    """All but the audits, which test_shipped_audits.py holds to the table."""
    policy, _ = shipped(name)
    gallery.copy_lock(name, POLICIES, tmp_path)
    built = gallery.build(policy, tmp_path, steps=("test",))
    assert cells(name)[:-1] == list(built.cells[:-1])
    assert not {"failed", "promote"} & {one["status"] for one in (built.tests or {}).get("results", ())}


@pytest.mark.usefixtures("encoded_once")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.soak) for name in NAMES]
)
def test_a_lock_is_what_the_script_builds(
    name: str, gallery: ModuleType, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to the byte: another processor moves the last digits of a vector, and the lock tells the versions of libraries."""
    _, kept = shipped(name)
    for one in copied.glob(f"{name}.lock.*"):
        one.unlink()
    page = (copied / "README.md").read_text(encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["gallery.py", name])
    gallery.main()
    made = read_lock(lock_path(copied, name))
    assert (made.level, made.phrases, made.encoder_identity) == (kept.level, kept.phrases, kept.encoder_identity)
    for one, other in zip(made.actions, kept.actions, strict=True):
        assert (one.threshold is None) == (other.threshold is None)
        assert one.threshold == pytest.approx(other.threshold, abs=0.01)
    assert made.arrays.keys() == kept.arrays.keys()
    for array, values in kept.arrays.items():
        assert np.allclose(made.arrays[array], values, rtol=0.02, atol=0.02), array
    assert all(alike(told, found) for told, found in zip(cells(name), cells(name, copied), strict=True))
    others = gallery.table(page) | {name: gallery.table((copied / "README.md").read_text(encoding="utf-8"))[name]}
    assert (copied / "README.md").read_text(encoding="utf-8") == gallery.with_table(page, others)


def test_a_shipped_lock_decides_at_once_and_only_proposes(capsys: pytest.CaptureFixture[str]) -> None:
    (command,) = re.findall(
        r"^\$ moderation (scan .*)$", (POLICIES / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    paths = [str(ROOT / word) if word.startswith("policies/") else word for word in command.split()]
    assert main.run([*paths, "--json"]) == 0
    decision = json.loads(capsys.readouterr().out)
    assert (decision["action"], decision["proposed"]) == ("allow", "review")


def test_the_table_holds_the_policies_by_name_and_is_written_between_its_marks(gallery: ModuleType) -> None:
    page = (POLICIES / "README.md").read_text(encoding="utf-8")
    rows = gallery.table(page)
    assert list(rows) == NAMES
    assert gallery.with_table(page, rows) == page
    changed = gallery.with_table(page, rows | {"aardvark": "| [aardvark](aardvark.yaml) | x |"})
    assert list(gallery.table(changed)) == ["aardvark", *NAMES]
    assert changed.replace("| [aardvark](aardvark.yaml) | x |\n", "") == page
    with pytest.raises(ValueError, match="expected <!-- written by"):
        gallery.table("a page without the marks")


def test_to_the_sentence_encoder_all_emoji_are_one_sign() -> None:
    """What hateful-emoji is shipped to show; an encoder that reads them would make it worth certifying."""
    encoder = assemble.encoder(load_settings(), "text")
    animal, plant, word = encoder.encode_text(["get these 🐒 out", "get these 🥦 out", "get these animals out"]).vectors
    assert np.array_equal(animal, plant)
    assert not np.array_equal(animal, word)
