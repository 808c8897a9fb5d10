"""Corruptions, styles and grounds: what they do to a picture, the same each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from moderation.settings import ImageLimits
from moderation.training.evaluation.background import GROUNDS, composed, transparent
from moderation.training.evaluation.corruption import CORRUPTIONS, SEVERITIES, corrupt
from moderation.training.evaluation.style import STYLES

_Y, _X = np.mgrid[:96, :120]
PICTURE = Image.fromarray(np.stack([_X * 2, _Y * 2, ((_X // 7 + _Y // 7) % 2) * 200], axis=2).astype(np.uint8))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float64)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_harms_more_the_stronger_it_is(name: str) -> None:
    made = [corrupt(PICTURE, (7, 0), name=name, severity=severity) for severity in SEVERITIES]
    assert all(one.size == PICTURE.size for one in made)
    away = [float(np.abs(array(one) - array(PICTURE)).mean()) for one in made]
    assert 0 < away[0] < away[-1]
    assert corrupt(PICTURE, (7, 0), name=name, severity=3).tobytes() == made[2].tobytes()


@pytest.mark.parametrize(("severity", "quality"), [(1, 25), (5, 7)])
def test_jpeg_is_as_poor_as_the_published_suite_has_it(severity: int, quality: int) -> None:
    file = io.BytesIO()
    PICTURE.save(file, "JPEG", quality=quality)  # ImageNet-C: 25, 18, 15, 10, 7
    made = corrupt(PICTURE, (7, 0), name="jpeg", severity=severity)
    assert np.abs(array(made) - array(Image.open(file))).max() <= 1


def test_each_picture_has_noise_of_its_own() -> None:
    first, second = (corrupt(PICTURE, (7, at), name="gaussian noise", severity=1) for at in (0, 1))
    assert first.tobytes() != second.tobytes()


@pytest.mark.parametrize("name", STYLES)
def test_a_style_changes_the_picture_and_not_its_size(name: str) -> None:
    made = STYLES[name](PICTURE)
    assert made.size == PICTURE.size
    assert (array(made) != array(PICTURE)).any()


def drawing(alpha: int) -> bytes:
    pixels = np.full((40, 40, 4), (200, 30, 30, alpha), np.uint8)
    pixels[10:30, 10:30, 3] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("ground", GROUNDS)
def test_a_ground_changes_what_is_behind_and_nothing_else(ground: str) -> None:
    found = transparent(drawing(0), ImageLimits())
    assert found is not None
    made = array(composed(found, (7, 0), ground=ground))
    assert (made[10:30, 10:30] == (200, 30, 30)).all()
    assert (made[:10] != (200, 30, 30)).any()


def test_only_what_is_transparent_gets_a_ground() -> None:
    assert transparent(drawing(255), ImageLimits()) is None
    assert transparent(b"no picture", ImageLimits()) is None
    file = io.BytesIO()
    PICTURE.save(file, "JPEG")
    assert transparent(file.getvalue(), ImageLimits()) is None
