"""The encoder we ship: it loads, fits its card, is small enough, and gives the vectors it gave before."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from moderation.encoder import checkpoint
from moderation.encoder.checkpoint import load
from moderation.encoder.lane import PIECE
from moderation.encoder.locate import BUNDLED
from moderation.encoder.tokens import BATCH_BUCKETS
from moderation.encoder.towers import DualImageTower, MobileNetTower
from moderation.testing import EncoderKit
from tests.unit.encoder.pictures import encoded, picture


def test_it_loads_fits_its_card_and_is_small_enough() -> None:
    encoder = load("bundled", device="cpu")
    assert encoder.card.modalities == ("image", "text")
    assert encoder.card.licence
    assert encoder.card.trained_on
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()) <= 25_000_000


def test_its_vectors_are_stable_and_tell_things_apart() -> None:
    encoder = load("bundled", device="cpu")
    again = load("bundled", device="cpu")
    assert again.fingerprint == encoder.fingerprint
    files = [encoded(picture(70, 60, seed=n)) for n in range(4)]
    images, texts = encoder.encode_images(files), encoder.encode_text(["a gun", "a pistol", "a slice of cake"])
    assert images.errors == texts.errors == {}
    assert images.vectors.shape == (4, encoder.card.width)
    assert again.encode_images(files).vectors.tobytes() == images.vectors.tobytes()
    close = texts.vectors.astype(np.float32) @ texts.vectors.astype(np.float32).T
    assert close[0, 1] > close[0, 2]


def test_its_vectors_have_every_bit_of_transformers_own_models(monkeypatch: pytest.MonkeyPatch) -> None:
    files, words = [encoded(picture(70, 60, seed=n)) for n in range(9)], ["a gun", "a slice of cake on a plate", "a"]
    ours = load("bundled", device="cpu")
    monkeypatch.setattr(checkpoint, "_ours", lambda *_: None)
    theirs = load("bundled", device="cpu")
    assert (type(ours.image.tower), type(theirs.image.tower)) == (MobileNetTower, DualImageTower)  # type: ignore[attr-defined]
    assert ours.lane.piece == theirs.lane.piece == PIECE  # type: ignore[attr-defined]
    assert ours.encode_images(files).vectors.tobytes() == theirs.encode_images(files).vectors.tobytes()
    for some in (words, words[:1]):
        assert ours.encode_text(some).vectors.tobytes() == theirs.encode_text(some).vectors.tobytes()


def test_what_its_config_leaves_out_is_read_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, found = load("bundled", device="cpu").fingerprint, checkpoint.describe("bundled")
    monkeypatch.setattr(checkpoint.Bert, "is_whole", lambda _: False)
    full = checkpoint.describe("bundled")
    assert len(full.config["text_config"]) > len(found.config["text_config"])
    assert (full.card, full.identity) == (found.card, found.identity)
    assert load("bundled", device="cpu").fingerprint == ours


def test_it_starts_without_transformers_which_takes_half_as_long_to_import_as_torch() -> None:
    code = (
        "import sys; from moderation.encoder.checkpoint import load; load('bundled', device='cpu').encode_text(['a'])"
    )
    code += "; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("size", BATCH_BUCKETS)
def test_company_changes_nothing_beyond_a_rounding(size: int) -> None:
    encoder = load("bundled", device="cpu")
    files = [encoded(picture(70, 60, seed=n)) for n in range(BATCH_BUCKETS[-1])]
    whole = encoder.encode_images(files).vectors.astype(np.float32)
    parts = [encoder.encode_images(files[start : start + size]).vectors for start in range(0, len(files), size)]
    # One step of float16, for numbers below a half.
    assert np.abs(whole - np.concatenate(parts).astype(np.float32)).max() <= 2.5e-4


class TestByTheKit(EncoderKit):
    """It passes what a plugin's encoder must."""

    make = partial(load, "bundled", device="cpu")
    name = "torch"
    plugin = "builtin"
