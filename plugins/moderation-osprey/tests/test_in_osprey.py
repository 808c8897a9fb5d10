"""Rules through Osprey's own engine, in Osprey's own Python, which OSPREY_PYTHON names: found by the entry point, checked and executed by its own functions."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import POLICIES

HERE = Path(__file__).parent


@pytest.mark.usefixtures("served")
@pytest.mark.skipif("OSPREY_PYTHON" not in os.environ, reason="needs OSPREY_PYTHON")
def test_rules_are_told_what_policies_say(tmp_path: Path) -> None:
    picture = (POLICIES / "pictures" / "test" / "ak47.webp").read_bytes()
    event = tmp_path / "event.json"
    event.write_text(json.dumps({"picture": base64.b64encode(picture).decode()}))
    info = tmp_path / "moderation_osprey-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moderation-osprey\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[osprey_plugin]\nmoderation = moderation_osprey.plugin\n")
    paths = os.pathsep.join([str(tmp_path), str(HERE.parent)])
    asking = [os.environ["OSPREY_PYTHON"], str(HERE / "in_osprey.py"), str(event)]
    told = subprocess.run(asking, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": paths})
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout.splitlines()[-1])
    assert answer["found"] == {
        "Caption": None,
        "Weapon": "review",
        "Gore": "no_match",
        "Acting": "not_live",
        "Misspelt": "error",
        "OfText": "not_judged",
        "IsWeapon": True,
    }
    assert answer["errors"] == []
    assert answer["asked"] == [1, 4]  # one waits for no field of the event
