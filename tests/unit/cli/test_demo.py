"""`moderation demo` over a stand-in that knows what the pictures show: everything but the towers is the real thing."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moderation.cli import demo_run
from moderation.cli.demo_run import shipped_policies, stream_items
from moderation.encoder.base import Encoded
from moderation.errors import DataError
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.polarity import WAY_OF, Expected
from moderation.release.suite_file import load_suites
from moderation.settings import Settings
from tests.fakes import WIDTH, FakeEncoder
from tests.unit.cli.conftest import Run

AXIS = {"weapons": 0, "fire": 1, "alcohol": 2}
NOISE = 0.15


class Seer(FakeEncoder):
    """Pictures lie near the axis of the policy they break, phrases of a policy on its axis, all else anywhere."""

    def __init__(self, *, blind: bool = False) -> None:
        super().__init__(identity="5ee25ee25ee25ee2")
        content, order = shipped_policies(), Settings().actions
        self.meant: dict[str, int] = {}
        self.said: dict[str, int] = {}
        for name, axis in AXIS.items():
            policy = load_policy(content / f"{name}.yaml", action_names=order)
            for concept in policy.concepts.violating:
                self.said |= dict.fromkeys(concept.phrases, axis)
            for path in sorted((content / "data").glob(f"{name}.*.jsonl")):
                self.meant |= {row.sha256: axis for row in load_manifest(path) if row.target and not blind}
            for suite in load_suites(policy.tests):
                singles = [(case.item, case.expect) for case in suite.cases]
                pairs = [(pair.a, pair.a_expect) for pair in suite.pairs]
                for item, expect in (*singles, *pairs):
                    if WAY_OF.get(expect) is Expected.FLAGGED and not blind:
                        self.meant[suite.read(item, id="seen").parts[0].digest] = axis

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        self.encoded += [hashlib.sha256(image).hexdigest() for image in images]
        rows = [
            self._vector(digest, self.meant.get(digest)) for digest in self.encoded[len(self.encoded) - len(images) :]
        ]
        return Encoded(np.array(rows, np.float16).reshape(len(images), WIDTH), {})

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        axes = [next((axis for phrase, axis in self.said.items() if phrase in text), None) for text in texts]
        rows = [self._vector(text, axis) for text, axis in zip(texts, axes, strict=True)]
        return Encoded(np.array(rows, np.float16).reshape(len(texts), WIDTH), {})

    def _vector(self, seed: str, axis: int | None) -> Any:
        chance = np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest()[:12], 16))
        vector = chance.normal(size=WIDTH)
        vector[:3] *= NOISE
        if axis is not None:
            vector *= NOISE
            vector[axis] = 1.0
        return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def came_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """One run of the demo for all tests here: its JSON, its folder, what it told."""
    from moderation.cli import main, terminal

    out, emitted, told = tmp_path_factory.mktemp("demo"), [], []
    before = written(shipped_policies())
    with pytest.MonkeyPatch.context() as patch:
        seer = Seer()
        patch.setattr("moderation.assemble.encoder", lambda *_args, **_options: seer)
        patch.setattr(terminal, "emit", emitted.append)
        patch.setattr(terminal, "note", told.append)
        assert main.run(["demo", "--out", str(out), "--json"]) == 0
    assert written(shipped_policies()) == before, "the demo wrote among the shipped policies"
    return emitted[0], out, "\n".join(told)


def written(folder: Path) -> dict[str, int]:
    """When each file directly in a folder was last written: among policies the locks and what stands beside them."""
    return {one.name: one.stat().st_mtime_ns for one in folder.iterdir()}


def decisions(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "decisions.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_step_tells_what_came_of_it(came_out: tuple[dict[str, Any], Path, str]) -> None:
    told = came_out[2]
    for step in ("encoder", "lint", "compile", "certify", "test", "audit", "release", "scan", "check", "report"):
        assert f"\n{step} " in f"\n{told}"
    assert "3 policy files, no errors" in told


def test_the_first_line_comes_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from moderation.cli import demo, terminal

def say(text):
    print(text, sorted({{"torch", "numpy", "jinja2", "moderation.assemble"}} & set(sys.modules)))
    sys.exit(0)

terminal.say = say
demo.demo(Path({str(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("demo     three shipped policies")
    assert done.stdout.endswith("[]\n")


def test_the_certificate_comes_with_how_often_its_targets_were_asked(
    came_out: tuple[dict[str, Any], Path, str],
) -> None:
    summary, out, told = came_out
    assert "certify  weapons: asked once: nothing else was tried on these targets" in told
    assert (out / "report.html").read_text(encoding="utf-8").count("targets were asked: asked once") == 3
    items = summary["policies"][0]["achieved"][0]["items"]
    assert f"repeats included: {items['hits']} of {items['trials']})" in told


def test_the_demo_looks_for_copies_as_certify_does(came_out: tuple[dict[str, Any], Path, str]) -> None:
    found = [one["evidence"]["certify"] for one in came_out[0]["policies"]]
    assert [(one["merged"], one["unseen"]) for one in found] == [([], 0)] * 3


def test_weapons_are_certified_and_alcohol_asks_for_targets(came_out: tuple[dict[str, Any], Path, str]) -> None:
    summary, _, told = came_out
    by_id = {policy["policy"]: policy for policy in summary["policies"]}
    assert all(action["certified"] for action in by_id["weapons"]["actions"])
    assert not any(action["certified"] for action in by_id["alcohol"]["actions"])
    assert by_id["alcohol"]["tests"] is None
    short = by_id["alcohol"]["actions"][1]["shortfall"]["more_violating"]
    assert f"{short} more violating targets needed" in told


def test_the_figures_are_those_of_the_decisions(came_out: tuple[dict[str, Any], Path, str]) -> None:
    summary, out, _ = came_out
    made = decisions(out)
    targets = [json.loads(line) for line in (out / "targets.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [one["item_id"] for one in made] == [one["item_id"] for one in targets]
    assert summary["items"] == len(made)
    assert summary["cache_hits"] == sum(one["cache_hit"] for one in made)
    for policy in summary["policies"]:
        for found, action in zip(policy["achieved"], (a for a in policy["actions"] if a["certified"]), strict=True):
            hits, trials = 0, 0
            for one, known in zip(made, targets, strict=True):
                verdict = next(v for v in one["verdicts"] if v["policy"] == policy["policy"])
                target, flagged = known["targets"].get(policy["policy"]), verdict["score"] >= action["threshold"]
                counted = flagged if action["metric"] == "precision" else target
                if target is not None and counted:
                    trials, hits = trials + 1, hits + (target and flagged)
            assert (found["items"]["hits"], found["items"]["trials"]) == (hits, trials)


def test_repeats_come_from_the_cache_and_first_sights_do_not(came_out: tuple[dict[str, Any], Path, str]) -> None:
    summary, out, _ = came_out
    repeats = summary["items"] - summary["pictures"]
    assert 50 < 0.8 * repeats <= summary["cache_hits"] <= repeats
    assert not decisions(out)[0]["cache_hit"]


def test_the_locks_are_ready_for_a_scan(came_out: tuple[dict[str, Any], Path, str], run: Run, monkeypatch: Any) -> None:
    _, out, _ = came_out
    seer = Seer()
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: seer)
    picture = shipped_policies() / "pictures" / "test" / "ak47.webp"
    code, told, _ = run("scan", picture, "--policy", out / "locks" / "weapons.lock.json", "--json")
    assert code == 0
    assert json.loads(told)["proposed"] == "review"


def test_nothing_is_written_outside_its_folder(came_out: tuple[dict[str, Any], Path, str]) -> None:
    out = came_out[1]
    made = ["audit-weapons.html", "decisions.jsonl", "locks", "report.html", "targets.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == made


def test_an_encoder_that_sees_nothing_certifies_nothing_and_says_so(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Seer(blind=True)
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: blind)
    code, told, _ = run("demo", "--out", tmp_path)
    assert code == 0
    assert "certified at threshold" not in told
    assert told.count("cannot certify") == 5
    assert "weapons: no threshold to test" in told
    assert "0 of 5 guarantees certified" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_stream_is_the_same_every_time_and_tells_no_names() -> None:
    policies = [load_policy(shipped_policies() / f"{name}.yaml", action_names=Settings().actions) for name in AXIS]
    first, again = (
        [(known, part.digest) for known, part in stream_items(shipped_policies(), policies)] for _ in range(2)
    )
    assert first == again
    assert len({digest for _, digest in first}) == len(first) - demo_run.REPEATED
    assert all(part.name == "" for _, part in stream_items(shipped_policies(), policies))
    counted = [known.cluster for known, _ in first if known.counts]
    assert len(counted) == len(set(counted)) == len({known.cluster for known, _ in first})


def test_a_missing_content_folder_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo_run, "_PACKAGE", tmp_path / "moderation")
    with pytest.raises(DataError, match="not part of this installation"):
        shipped_policies()


def test_a_wheel_carries_its_content_inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inside = tmp_path / "moderation" / "bundled" / "policies"
    (inside / "data").mkdir(parents=True)
    monkeypatch.setattr(demo_run, "_PACKAGE", tmp_path / "moderation")
    assert shipped_policies() == inside
