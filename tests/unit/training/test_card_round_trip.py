"""Every field of an encoder card goes through training and comes out as it was, with or without our own card file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moderation.encoder.card import EncoderCard, ImageCard, TextCard
from moderation.encoder.checkpoint import load
from tests.unit.encoder import checkpoints
from tests.unit.training.runs import prepare, run

OTHER_MEAN, OTHER_STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
# Each field with a value that is not its usual one, and the kind of start that can have it.
IMAGE = {
    "size": ("siglip", None),  # 48, by the files
    "mean": ("vit", {"mean": OTHER_MEAN}),
    "std": ("vit", {"std": OTHER_STD}),
    "resample": ("vit", {"resample": "bilinear"}),
    "fit": ("vit", {"fit": "stretch"}),
    "pad_beyond": ("vit", {"fit": "crop", "pad_beyond": 2.5}),
}
TEXT = {
    "context_length": ("vit", {"context_length": 17}),
    "padding": ("vit", {"padding": "max_length"}),
    "trim_exact": ("vit", {"trim_exact": False}),
    "lowercase": ("vit", {"lowercase": True}),
    "pooling": ("vit", {"pooling": "mean"}),
    "languages": ("vit", {"languages": ["de", "fr"]}),
}
# What transformers' own files have no word for: only our card carries it.
OURS_ALONE = {"pad_beyond", "padding", "trim_exact", "lowercase", "pooling", "languages"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cards")
    prepare(root)
    return root


def there_and_back(folder: Path, kind: str, field: str, section: str, changes: Any) -> tuple[EncoderCard, Path]:
    """The card of a start with these changes, and the encoder that a run makes of it."""
    if changes is not None:
        checkpoints.write_card(folder / kind, **{section: changes})
    try:
        before = load(str(folder / kind)).card
        run(folder, f"of-{field}", f'[model]\nstart = "{kind}"', steps=1)
    finally:
        (folder / kind / "card.json").unlink(missing_ok=True)
    return before, folder / f"of-{field}" / "encoder"


@pytest.mark.parametrize(("section", "field"), [*(("image", one) for one in IMAGE), *(("text", one) for one in TEXT)])
def test_a_field_of_a_section_comes_out_as_it_went_in(section: str, field: str, folder: Path) -> None:
    kind, changes = {**IMAGE, **TEXT}[field]
    before, out = there_and_back(folder, kind, field, section, changes)
    wanted = getattr(getattr(before, section), field)
    assert getattr(getattr(load(str(out)).card, section), field) == wanted
    if changes is not None:
        assert json.loads(json.dumps(wanted)) == changes[field]  # it was not its default that came out
    (out / "card.json").unlink()
    derived = getattr(getattr(load(str(out)).card, section), field)
    assert (derived == wanted) is (field not in OURS_ALONE), f"transformers' files say {derived}"


@pytest.mark.parametrize("kind", ["clip", "siglip", "vit", "resnet"])
def test_what_the_weights_imply_comes_out_as_it_went_in(kind: str, folder: Path) -> None:
    before, out = there_and_back(folder, kind, f"all-{kind}", "image", None)
    after = load(str(out)).card
    for field in ("schema_", "modalities", "width", "activation", "image", "text"):
        assert getattr(after, field) == getattr(before, field), field
    assert after.name == f"of-all-{kind}"  # a run's encoder is no longer what it started from:
    assert (after.licence, after.trained_on, after.metrics) == (None, (), {})
    (out / "card.json").unlink()
    derived = load(str(out)).card
    assert derived.model_copy(update={"name": after.name}) == after


def test_no_field_of_a_card_goes_untested() -> None:
    assert set(ImageCard.model_fields) == set(IMAGE)
    assert set(TextCard.model_fields) == set(TEXT)
