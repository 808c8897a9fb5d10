"""The demo's pictures and manifests: whole, disjoint by object, never drawn in training, and from drawings that say whose they are."""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from moderation.policy.loader import load_policy
from moderation.policy.manifest import TargetRow, disjoint, load_manifest
from moderation.settings import Settings
from tests.conftest import ROOT

POLICIES = ROOT / "policies"
PICTURES = POLICIES / "pictures"
NAMES = ("weapons", "fire", "alcohol")
MANIFESTS = sorted(
    path for path in (POLICIES / "data").glob("*.jsonl") if path.name.split(".")[0] in {*NAMES, "background"}
)


def uses() -> dict[str, list[TargetRow]]:
    """Rows by use (background, fit, certify, stream), all policies together."""
    found: dict[str, list[TargetRow]] = defaultdict(list)
    for path in MANIFESTS:
        found[path.stem.split(".")[-1]] += load_manifest(path)
    return found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_picture_is_what_its_manifest_says(path: Path) -> None:
    for row in load_manifest(path):
        assert row.path
        assert hashlib.sha256(row.path.read_bytes()).hexdigest() == row.sha256


def test_no_object_and_no_picture_stands_in_two_uses() -> None:
    found = uses()
    assert set(found) == {"background", "fit", "certify", "stream"}
    for first, second in combinations(found.values(), 2):
        assert disjoint(first, second) == []


def test_the_test_files_use_objects_of_their_own() -> None:
    clusters = {row.path.stem for rows in uses().values() for row in rows if row.path}
    tests = {path.stem for path in (PICTURES / "test").glob("*.webp")}
    assert tests
    assert tests.isdisjoint(clusters)


def test_there_is_enough_to_certify_weapons_with_and_the_stream_has_its_prevalence() -> None:
    certify = load_manifest(POLICIES / "data" / "weapons.certify.jsonl")
    assert len({row.cluster for row in certify if row.target}) >= 60
    assert len({row.cluster for row in certify if not row.target}) >= 2000
    for name in NAMES:
        stated = load_policy(POLICIES / f"{name}.yaml", action_names=Settings().actions).prevalence
        stream = load_manifest(POLICIES / "data" / f"{name}.stream.jsonl")
        objects = {row.cluster: row.target for row in stream}
        assert stated.high <= 0.1
        assert stated.low <= sum(objects.values()) / len(objects) <= stated.high
        assert stated.n == len(objects)


def test_pictures_are_small_and_all_of_them_are_used() -> None:
    files = {path for path in PICTURES.rglob("*.webp") if path.parent.name != "people"}
    named = {row.path for rows in uses().values() for row in rows}
    assert {path for path in files if path.parent.name != "test"} == named
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_no_drawing_was_seen_in_training() -> None:
    objects = json.loads((ROOT / "examples" / "bundled_encoder" / "heldout.json").read_text(encoding="utf-8"))[
        "objects"
    ]
    held_out = {f"{source}:{file}" for source, names in objects.items() for files in names.values() for file in files}
    assert {row.source for rows in uses().values() for row in rows} <= held_out


def test_every_drawing_is_attributed_and_its_licence_lies_beside() -> None:
    text = (PICTURES / "ATTRIBUTION.md").read_text(encoding="utf-8")
    licences = {row.licence for rows in uses().values() for row in rows}
    assert licences <= {"CC-BY-3.0", "CC0-1.0", "Apache-2.0"}
    for row in (row for rows in uses().values() for row in rows):
        source, file = row.source.split(":")
        assert source in text
        assert row.licence in text
        assert f"{Path(file).stem}" in text
        if source == "game-icons":
            assert f"## Icons made by {file.split('/')[0]} (game-icons, {row.licence})" in text
    assert "Creative Commons" in (PICTURES / "LICENSE.game-icons.txt").read_text(encoding="utf-8")
    assert "Apache 2.0" in (PICTURES / "LICENSE.material-design-icons.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """examples/demo_pictures/compose.py; rendering it needs resvg_py, which the package does not."""
    pytest.importorskip("resvg_py", reason="resvg_py is not installed")
    sys.path.insert(0, str(ROOT / "examples" / "demo_pictures"))
    try:
        yield importlib.import_module("compose")
    finally:
        sys.path.pop(0)


@pytest.mark.needs_data
def test_the_script_deals_the_same_objects_and_draws_the_same_scenes(
    script: ModuleType, data: Path, tmp_path: Path
) -> None:
    rules = script.read_rules()
    splits = script.deal(script.read_things(data / "icons"), rules)
    clusters = {row.cluster for row in uses()["certify"]}
    assert {thing.name for thing in splits["certify"]} == clusters
    few = {"stream": splits["stream"][:6]}
    for made in script.compose(few, rules, data / "icons", tmp_path):
        kept = (PICTURES / "stream" / made.name).read_bytes()
        drawn = (tmp_path / "pictures" / "stream" / made.name).read_bytes()
        pixels = [np.asarray(Image.open(io.BytesIO(one)).convert("RGB"), np.int16) for one in (kept, drawn)]
        # Another version of the WebP encoder may round otherwise; the scene must be the same.
        assert np.abs(pixels[0] - pixels[1]).mean() < 2.0
