"""What the bundled encoder may never see stays out of its captions and its drawings, by the committed rule."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT

RECIPE = ROOT / "examples" / "bundled_encoder"
MODULES = ("objects", "heldout", "phrases", "captions", "drawings", "render", "figures")


@pytest.fixture(scope="module")
def recipe() -> Iterator[dict[str, ModuleType]]:
    """The recipe's own files, imported as its command imports them."""
    import importlib

    sys.path.insert(0, str(RECIPE))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(RECIPE))
        for name in MODULES:
            sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cards-playing-heart-multiple-outline", "cards playing"),
        ("perspective dice six faces three", "dice faces"),
        ("thumbs up: medium-dark skin tone", "thumbs"),
        ("bomb off", "bomb"),
        ("sword cross", "sword cross"),
        ("account-plus-outline", "account"),
        ("broadsword", "broadsword"),
    ],
)
def test_an_object_is_a_name_without_its_variants(recipe: dict[str, ModuleType], name: str, expected: str) -> None:
    assert recipe["objects"].object_name(name) == expected


@pytest.mark.parametrize(
    "text",
    [
        "a firearm such as a handgun or a rifle",
        "A handgun or rifle, a firearm",
        "open flame and heat",
        "tobacco product",
    ],
)
def test_a_held_out_phrase_and_its_close_variants_are_no_captions(recipe: dict[str, ModuleType], text: str) -> None:
    assert not recipe["phrases"].may_be_caption(text)


@pytest.mark.parametrize("text", ["crossed swords", "dagger", "Sake", "poker chips", ""])
def test_the_name_of_a_held_out_object_is_no_caption(recipe: dict[str, ModuleType], text: str) -> None:
    assert not recipe["phrases"].may_be_caption(text)


@pytest.mark.parametrize("text", ["wine glass", "fire", "hammer", "volcano", "a person on fire watch"])
def test_other_texts_are(recipe: dict[str, ModuleType], text: str) -> None:
    assert recipe["phrases"].may_be_caption(text)


def test_no_held_out_phrase_is_used_twice(recipe: dict[str, ModuleType]) -> None:
    rule = recipe["heldout"].read_rule()
    phrases = [p for policy in rule["phrases"].values() for kind in ("violating", "contrast") for p in policy[kind]]
    held_out = [p for policy in rule["phrases"].values() for p in policy["violating"]]
    assert len(set(held_out)) == len(held_out)
    assert not set(rule["dev_phrases"].values()) & set(phrases)
    assert all(4 <= len(policy[kind]) <= 8 for policy in rule["phrases"].values() for kind in policy)


def test_measured_styles_are_none_of_the_training_styles(recipe: dict[str, ModuleType]) -> None:
    drawings = recipe["drawings"]
    assert set(recipe["heldout"].read_rule()["styles"]) == set(drawings.MEASURED_STYLES)
    assert not set(drawings.MEASURED_STYLES) & {*drawings.EMOJI_STYLES, *drawings.ICON_STYLES}


@pytest.mark.parametrize(
    ("name", "held_out"),
    [("casino chip 5", True), ("card game spade", True), ("martial arts swords", True), ("fire evacuation", False)],
)
def test_a_colour_icon_is_held_out_by_any_run_of_its_name(
    recipe: dict[str, ModuleType], name: str, held_out: bool
) -> None:
    drawing = recipe["drawings"].Drawing("streamline-color", name, name, recipe["objects"].object_name(name), ())
    assert recipe["render"].is_held_out(drawing, recipe["heldout"].held_out_objects()) is held_out


def test_the_shipped_weights_were_trained_under_the_list_that_stands_here(recipe: dict[str, ModuleType]) -> None:
    card = json.loads(recipe["figures"].CARD.read_text(encoding="utf-8"))
    assert card["metrics"]["held_out_sha256"] == hashlib.sha256((RECIPE / "heldout.json").read_bytes()).hexdigest()


def test_what_the_cards_digest_covers_and_what_it_does_not_is_told(recipe: dict[str, ModuleType]) -> None:
    by_icon = json.loads((RECIPE / "heldout.json").read_text(encoding="utf-8"))["objects"]
    listed = {name for objects in by_icon.values() for name in objects}
    objects = recipe["heldout"].read_rule()["objects"].values()
    by_hand = {recipe["objects"].object_name(name) for names in objects for name in names}
    told = " ".join((RECIPE / "README.md").read_text(encoding="utf-8").split())
    assert f"`heldout.json` and of nothing else: {len(listed):,} objects" in told
    assert f"{len(by_hand - listed)} of the {len(by_hand)} objects that are listed by hand" in told


def test_the_figures_told_are_those_of_the_card(recipe: dict[str, ModuleType]) -> None:
    figures = recipe["figures"]
    metrics = json.loads(figures.CARD.read_text(encoding="utf-8"))["metrics"]
    told = (RECIPE / "README.md").read_text(encoding="utf-8")
    for line in (*figures.areas(metrics), *figures.retrieval(metrics)):
        assert line in told
    project = (ROOT / "docs" / "figures.md").read_text(encoding="utf-8")
    for line in figures.summary(metrics):
        assert line in project


def test_the_tables_are_written_where_they_stand(recipe: dict[str, ModuleType]) -> None:
    figures = recipe["figures"]
    metrics = json.loads(figures.CARD.read_text(encoding="utf-8"))["metrics"]
    pages = [page.read_text(encoding="utf-8") for page in (RECIPE / "README.md", ROOT / "docs" / "figures.md")]
    assert figures.written(pages[0], list(figures.areas(metrics))) == pages[0]
    assert figures.summarised(pages[1], metrics) == pages[1]
    metrics["objects_never_drawn"]["compiled"]["mean"] = 0.123456
    metrics["style_never_seen_openmoji"]["recall_at_5_plain"] = 0.98765
    lines = list(figures.areas(metrics))
    assert [line for line in figures.written(pages[0], lines).splitlines() if "**0.123**" in line] == [lines[5]]
    changed = figures.summarised(pages[1], metrics)
    assert "| objects never drawn in training | 0.12 |" in changed
    assert "0.99 in openmoji" in changed
    with pytest.raises(ValueError, match="no table with the head"):
        figures.written("no table", lines)


@pytest.mark.needs_data
def test_the_committed_list_is_what_the_rule_gives(recipe: dict[str, ModuleType], data: Path) -> None:
    listed = json.loads((RECIPE / "heldout.json").read_text(encoding="utf-8"))["objects"]
    assert recipe["heldout"].apply_rule(data) == listed


@pytest.mark.needs_data
def test_nothing_trained_on_shows_or_names_what_is_held_out(recipe: dict[str, ModuleType], data: Path) -> None:
    held_out, may_be = recipe["heldout"].held_out_objects(), recipe["phrases"].may_be_caption
    files = recipe["heldout"].apply_rule(data)
    for source in ("game-icons", "mdi"):
        train, measured = recipe["render"].split(recipe["drawings"].shared_icons(data, source))
        assert len(train) > 1000
        assert len(measured) > 1000
        assert not {drawing.object for drawing in train} & held_out
        assert not {drawing.file for drawing in train} & {f for found in files[source].values() for f in found}
        for drawing in train:
            row = {"name": drawing.name, "words": drawing.words}
            assert all(may_be(text) for text in recipe["captions"].captions_of(row))
