"""The two shipped audits, run whole: what docs/audits.md says of them is what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from moderation.cli import main
from moderation.errors import ExitCode
from moderation.policy.manifest import load_manifest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = (ROOT / "docs" / "audits.md").read_text(encoding="utf-8")


def told(policy: str) -> list[str]:
    """The lines that the page prints of one audit, without its revision and where it was written."""
    block = re.search(rf"^audited {policy} .*?(?=^```)", DOCS, re.DOTALL | re.MULTILINE)
    assert block
    return [re.sub(r", revision \w+|\(build/.*\)", "", line).strip() for line in block[0].splitlines()]


@pytest.mark.parametrize(("policy", "code"), [("weapons", ExitCode.OK), ("insults", ExitCode.AUDIT_FAILED)])
def test_an_audit_says_what_its_page_says(
    policy: str, code: ExitCode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(ROOT / "policies" / f"{policy}.yaml")
    for step in ("compile", "certify"):
        assert main.run(["policy", step, file, "--out", str(tmp_path)]) == ExitCode.OK
    capsys.readouterr()
    assert main.run(["policy", "audit", file, "--out", str(tmp_path)]) == code
    said = capsys.readouterr().out
    plain = [re.sub(r", revision \w+|\(/.*\)", "", line).strip() for line in said.splitlines()]
    assert plain[: len(told(policy))] == told(policy)


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
    for policy in ("weapons", "insults"):
        splits = {}
        for use in ("fit", "certify", "audit"):
            name = "people.audit" if (policy, use) == ("weapons", "audit") else f"{policy}.{use}"
            lines = (ROOT / "policies" / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
            splits[use] = {json.loads(line)["cluster"] for line in lines}
        assert not splits["audit"] & (splits["fit"] | splits["certify"])
