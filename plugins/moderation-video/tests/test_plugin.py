"""The plugin's settings, and a whole video under a policy that is shipped: the decision says at which second."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from conftest import film
from PIL import Image

from moderation import assemble
from moderation.decision import Outcome, Verdict
from moderation.item import ContentItem, Part
from moderation.plugin import manager
from moderation.settings import Settings

POLICIES = Path(__file__).parents[3] / "policies"


def scene(name: str) -> np.ndarray:
    with Image.open(POLICIES / "pictures" / "test" / f"{name}.webp") as picture:
        return np.asarray(picture.convert("RGB").resize((256, 256)))


@pytest.fixture(scope="module")
def weapons() -> Iterator[Callable[[bytes], Verdict]]:
    """What the shipped policy on weapons says of a video."""
    settings = Settings(readers={"use": ("video",)})
    with closing(assemble.plugins(settings)) as known:
        pipeline = assemble.pipeline(settings, [POLICIES / "weapons.lock.json"], known=known)

        def judge(content: bytes) -> Verdict:
            item = ContentItem("upload", (Part.video(content, name="clip"),), {"surface": "sticker"})
            return pipeline.decide([item])[0].verdicts[0]

        yield judge


def test_a_weapon_between_the_third_second_and_the_fourth_is_found_there(weapons: Callable[[bytes], Verdict]) -> None:
    found = weapons(
        film([(scene("coffee-cup"), 3), (scene("ak47"), 1), (scene("igloo"), 2)], size=(256, 256), crf="18")
    )
    assert (found.outcome, found.part) == (Outcome.REVIEW, "clip#t=3.000")
    assert found.margin > 0


def test_without_it_nothing_is_found(weapons: Callable[[bytes], Verdict]) -> None:
    found = weapons(film([(scene("coffee-cup"), 4), (scene("igloo"), 2)], size=(256, 256), crf="18"))
    assert (found.outcome, found.error) == (Outcome.NO_MATCH, None)


def test_what_cannot_be_read_is_an_error_of_the_policy(weapons: Callable[[bytes], Verdict]) -> None:
    found = weapons(b"\0\0\0\x08ftyp")
    assert (found.outcome, found.error, found.action) == (Outcome.ERROR, "unsupported_input", "review")


def cause(**settings: object) -> str:
    (record,) = [
        one for one in manager.load(only=("video",), settings={"video": settings}).records if one.id == "video"
    ]
    return record.cause


def test_settings_are_checked() -> None:
    assert cause(every_seconds=2, most_frames=16, processes=1, timeout_seconds=5.0) == ""
    assert "expected any of every_seconds" in cause(evry_seconds=2)
    assert "every_seconds is 0" in cause(every_seconds=0)
    assert "most_frames is 16.5; expected a whole number, 16 or more" in cause(most_frames=16.5)
    assert "longest_side is True" in cause(longest_side=True)


@pytest.mark.parametrize("word", ["av", "PIL"])
def test_libav_is_loaded_by_nobody_here(word: str) -> None:
    code = f"import moderation_video.plugin, sys; sys.exit({word!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
