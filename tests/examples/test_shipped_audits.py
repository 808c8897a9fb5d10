"""The shipped audits, run whole: what docs/audits.md says of them is what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from moderation.cli import main
from moderation.errors import ExitCode
from moderation.policy.loader import load_policy
from moderation.policy.manifest import load_manifest
from moderation.policy.schema import Policy
from moderation.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = (ROOT / "docs" / "audits.md").read_text(encoding="utf-8")
README = (ROOT / "policies" / "README.md").read_text(encoding="utf-8")


def told(policy: str) -> list[str]:
    """The lines that the page prints of one audit, without its revision and where it was written."""
    block = re.search(rf"^audited {policy} .*?(?=^```)", DOCS, re.DOTALL | re.MULTILINE)
    assert block
    return [re.sub(r", revision \w+|\(policies/.*\)", "", line).strip() for line in block[0].splitlines()]


def policy_named(name: str) -> Policy:
    return load_policy(ROOT / "policies" / f"{name}.yaml", action_names=Settings().actions)


def audited() -> list[str]:
    """The policies that declare an audit."""
    return sorted(path.stem for path in (ROOT / "policies").glob("*.yaml") if policy_named(path.stem).audit)


@pytest.mark.usefixtures("encoded_once")
@pytest.mark.parametrize("policy", audited())
def test_an_audit_says_what_its_page_and_the_table_of_policies_say(
    policy: str, gallery: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the shipped lock, which test_gallery.py holds to what its policy is built into."""
    gallery.copy_lock(policy, ROOT / "policies", tmp_path)
    code = ExitCode.AUDIT_FAILED if policy in {"insults", "hate"} else ExitCode.OK
    assert main.run(["policy", "audit", str(ROOT / "policies" / f"{policy}.yaml"), "--out", str(tmp_path)]) == code
    said = capsys.readouterr().out
    plain = [re.sub(r", revision \w+|\(/.*\)", "", line).strip() for line in said.splitlines()]
    assert plain[: len(told(policy))] == told(policy)
    found = gallery.build(policy_named(policy), tmp_path, steps=())
    assert gallery.table(README)[policy].endswith(f"| {found.cells[-1]} |")


@pytest.mark.needs_data
def test_the_texts_are_what_the_script_makes(data: Path, tmp_path: Path) -> None:
    script = ROOT / "examples" / "text_policies" / "texts.py"
    subprocess.run([sys.executable, script, "--data", data, "--out", tmp_path], check=True, capture_output=True)
    for made in (tmp_path / "data").iterdir():
        assert made.read_bytes() == (ROOT / "policies" / "data" / made.name).read_bytes()


def test_the_people_are_whole_attributed_and_of_a_style_never_trained_on() -> None:
    rows, folder = (
        load_manifest(ROOT / "policies" / "data" / "people.audit.jsonl"),
        ROOT / "policies" / "pictures" / "people",
    )
    assert {row.path for row in rows} == set(folder.glob("*.webp"))
    assert {row.read().digest for row in rows} == {row.sha256 for row in rows}
    assert {row.licence for row in rows} == {"CC-BY-SA-4.0"}
    assert {row.source.split(":")[0] for row in rows} == {"openmoji"}
    assert "ShareAlike 4.0" in (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    rules = tomllib.loads((ROOT / "examples" / "bundled_encoder" / "heldout.toml").read_text(encoding="utf-8"))
    assert "openmoji" in rules["styles"]
    assert sum(path.stat().st_size for path in folder.glob("*.webp")) < 2_000_000


def test_nobody_audited_was_fitted_or_certified_on() -> None:
    for name in audited():
        data = policy_named(name).data
        fit, certify, audit = (
            {row.cluster for row in load_manifest(path, check_files=False)}
            for path in (data.fit, data.certify, data.audit)
            if path
        )
        assert not audit & (fit | certify)
