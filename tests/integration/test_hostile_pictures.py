"""A hundred bad pictures through the whole pipeline with a real encoder: an outcome each, and good ones untouched."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from moderation import assemble
from moderation.decision import Outcome
from moderation.embedding.embedder import Embedder
from moderation.item import ContentItem, Part
from moderation.pipeline import Pipeline
from moderation.settings import EncoderSettings, ImageLimits, Settings
from tests.fakes import lock
from tests.unit.encoder import checkpoints


def picture(kind: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    shade = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(shade).save(buffer, kind)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is this large."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def hostile() -> list[bytes]:
    """A hundred files that are no pictures, or not whole ones."""
    dice = random.Random(7)
    made = [b"", b"\x00", b"GIF89a", b"<svg/>", bomb(50_000, 50_000), bomb(2**31 - 1, 1), picture("PNG", 0)[:-20]]
    while len(made) < 100:
        content = bytearray(picture(dice.choice(["PNG", "JPEG", "WEBP"]), len(made)))
        if dice.random() < 0.5:
            content = content[: dice.randrange(1, len(content) // 2)]
        else:
            for _ in range(dice.randrange(1, 200)):
                content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        made.append(bytes(content))
    return made


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("tiny")
    checkpoints.clip(folder)
    settings = Settings(
        encoders={"default": EncoderSettings(checkpoint=str(folder), device="cpu")},
        images=ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000),
    )
    embedder: Embedder = assemble.embedder(settings)
    width, identity = embedder.encoder.card.width, embedder.encoder.fingerprint.identity
    axes = np.eye(width, dtype=np.float32)
    arrays = {**lock().arrays, "violating": axes[:1], "contrast": axes[1:2], "golden": axes[:1].astype(np.float16)}
    made = lock(
        arrays=arrays, width=width, encoder_identity=identity, encoder_numeric=embedder.encoder.fingerprint.numeric
    )
    return assemble.pipeline(settings, [made], embedders={"default": embedder})


def test_every_bad_picture_has_an_outcome_and_no_good_one_is_touched(pipeline: Pipeline) -> None:
    good = [ContentItem(f"good {n}", (Part.image(picture("PNG", n)),)) for n in range(20)]
    alone = {one.item_id: one.verdicts for one in pipeline.decide(good)}
    mixed = [*good, *(ContentItem(f"bad {n}", (Part.image(content),)) for n, content in enumerate(hostile()))]
    random.Random(3).shuffle(mixed)
    decisions = pipeline.decide(mixed)

    assert [one.item_id for one in decisions] == [item.id for item in mixed]
    assert {one.item_id: one.verdicts for one in decisions if one.item_id in alone} == alone
    bad = [one for one in decisions if one.item_id.startswith("bad")]
    assert len(bad) == 100
    errors = [one for one in bad if one.verdicts[0].outcome is Outcome.ERROR]
    assert {(one.verdicts[0].error, one.action) for one in errors} == {("unsupported_input", "review")}
    # Some flipped bits leave a picture that can be read: that is judged, and never more than that.
    assert 60 <= len(errors) <= 100
    assert all(
        one.verdicts[0].error == "unsupported_input" for one in bad if one.item_id in {"bad 0", "bad 4", "bad 5"}
    )
