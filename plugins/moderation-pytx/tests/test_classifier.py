"""Policies that are shipped, as a classifier of pytx."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from moderation.errors import SettingsError

if find_spec("threatexchange"):
    from moderation_pytx.classifier import ModerationClassifier, UnjudgedError
    from threatexchange.classifier.classifier import Classifier
    from threatexchange.content_type.photo import PhotoContent
    from threatexchange.content_type.text import TextContent
    from threatexchange.content_type.video import VideoContent

pytestmark = pytest.mark.skipif(
    find_spec("threatexchange") is None, reason="needs threatexchange, which make bench installs"
)

POLICIES = Path(__file__).parents[3] / "policies"
PICTURES = POLICIES / "pictures" / "test"


@pytest.fixture(scope="module")
def weapons() -> Iterator[Classifier]:
    made = ModerationClassifier([POLICIES / "weapons.lock.json"], {"surface": "sticker"})
    yield made
    made.close()


def test_a_match_is_told_with_its_verdict(weapons: Classifier) -> None:
    result = weapons.classify(PhotoContent, str(PICTURES / "ak47.webp"))
    assert result.has_match
    assert str(result).startswith("weapons(review 0.9")
    assert result.labels["weapons"].verdict.threshold == pytest.approx(0.679179)


def test_what_does_not_match_is_told_with_its_score(weapons: Classifier) -> None:
    result = weapons.classify(PhotoContent, str(PICTURES / "coffee-cup.webp"))
    assert not result.has_match
    assert result.labels["weapons"].weight_str().startswith("no_match 0.")


def test_a_policy_judges_what_is_in_its_scope(weapons: Classifier) -> None:
    assert weapons.classify(TextContent, "a gun").labels == {}


def test_what_cannot_be_judged_is_not_taken_for_harmless(weapons: Classifier) -> None:
    with pytest.raises(UnjudgedError, match=r"weapons: unsupported_input \(not_a_picture\)"):
        weapons.classify(PhotoContent, __file__)
    with pytest.raises(UnjudgedError, match="no_reader"):
        weapons.classify(VideoContent, __file__)


def test_pytx_makes_it_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="names no lock"):
        ModerationClassifier.get_with_default_settings()
    settings = tmp_path / "moderation.toml"
    settings.write_text(f"[plugins.settings.pytx]\nlocks = ['{POLICIES / 'gore.lock.json'}']\n")
    monkeypatch.setenv("MODERATION_SETTINGS", str(settings))
    made = ModerationClassifier.get_with_default_settings()
    assert made.classify(PhotoContent, str(PICTURES / "coffee-cup.webp")).labels.keys() == {"gore"}
    made.close()
