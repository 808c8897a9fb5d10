"""A hundred bad pictures through the whole pipeline and a whole scan with a real encoder: an outcome each, good ones untouched."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moderation import assemble
from moderation.decision import Outcome
from moderation.embedding.embedder import Embedder
from moderation.errors import ExitCode
from moderation.item import ContentItem, Modality, Part
from moderation.pipeline import Pipeline
from moderation.policy.lock import Lock, lock_path, write_lock
from moderation.settings import EncoderSettings, ImageLimits, Settings
from tests.conftest import ROOT
from tests.fakes import lock
from tests.unit.encoder import checkpoints


def picture(kind: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    shade = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(shade).save(buffer, kind)
    return buffer.getvalue()


def bomb(width: int, height: int, *, depth: int = 8, colour: int = 2, data: bytes = bytes(1000)) -> bytes:
    """A small PNG that says it is this large; whole only where `data` has every row."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


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


SCAN = """
import pathlib, re, sys
from moderation.cli.main import run
code = run(sys.argv[2:])
status = pathlib.Path("/proc/self/status").read_text()
pathlib.Path(sys.argv[1]).write_text(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1])
sys.exit(code)
"""
# What a picture says it is by its first bytes, and a name that says otherwise.
KINDS = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif"}
WRONG = {".png": ".txt", ".jpg": ".png", ".webp": ".jpg", ".gif": ".webp"}
# Measured: 830,000 with nothing unpacked. The bomb that can be read to its end (49 kB) takes 2,800,000.
MOST_KILOBYTES = 1_500_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("tiny")
    checkpoints.clip(folder)
    return Settings(
        encoders={"default": EncoderSettings(checkpoint=str(folder), device="cpu")},
        images=ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000),
    )


@pytest.fixture(scope="module")
def embedder(settings: Settings) -> Embedder:
    return assemble.embedder(settings)


@pytest.fixture(scope="module")
def policy(embedder: Embedder) -> Lock:
    width, identity = embedder.encoder.card.width, embedder.encoder.fingerprint.identity
    axes = np.eye(width, dtype=np.float32)
    arrays = {**lock().arrays, "violating": axes[:1], "contrast": axes[1:2], "golden": axes[:1].astype(np.float16)}
    numeric = embedder.encoder.fingerprint.numeric
    both = (Modality.IMAGE, Modality.TEXT)
    return lock(arrays=arrays, width=width, encoder_identity=identity, encoder_numeric=numeric, modalities=both)


@pytest.fixture(scope="module")
def pipeline(settings: Settings, embedder: Embedder, policy: Lock) -> Pipeline:
    return assemble.pipeline(settings, [policy], embedders={"default": embedder})


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
    assert {(one.verdicts[0].error, one.proposed) for one in errors} == {("unsupported_input", "review")}
    causes = {one.item_id: one.verdicts[0].cause for one in errors}
    assert set(causes.values()) == {"empty", "truncated", "damaged", "not_a_picture", "too_many_pixels"}
    # Some flipped bits leave a picture that can be read: that is judged, and never more than that.
    assert 60 <= len(errors) <= 100
    assert all(
        one.verdicts[0].error == "unsupported_input" for one in bad if one.item_id in {"bad 0", "bad 4", "bad 5"}
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here to read the peak memory from")
def test_a_scan_decides_on_each_whatever_its_name_says_in_bounded_memory(
    settings: Settings, policy: Lock, tmp_path: Path
) -> None:
    folder, peak, built = tmp_path / "pictures", tmp_path / "peak", lock_path(tmp_path / "build", "weapons")
    folder.mkdir()
    write_lock(policy, built)
    contents = {}
    for number, content in enumerate(hostile()):
        right = next((suffix for start, suffix in KINDS.items() if content.startswith(start)), ".png")
        contents |= {f"{number:03} right{right}": content, f"{number:03} wrong{WRONG[right]}": content}
    contents |= {"jpeg.png": picture("JPEG", 1), "gif.gif": picture("GIF", 2), "png.txt": picture("PNG", 3)}
    contents |= {"empty.gif": b"", "empty.txt": b""}
    contents |= {"unpacks.png": bomb(20_000, 20_000, depth=1, colour=0, data=bytes(20_000 * 2501))}
    for name, content in contents.items():
        (folder / name).write_bytes(content)

    command = [sys.executable, "-c", SCAN, str(peak), "scan", str(folder), "--policy", str(built), "--json"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment(settings))

    assert found.returncode == ExitCode.OK, found.stderr
    assert "Traceback" not in found.stderr
    decisions = [json.loads(line) for line in found.stdout.splitlines()]
    assert [Path(one["item_id"]).name for one in decisions] == sorted(contents)
    verdicts = {Path(one["item_id"]).name: one["verdicts"][0] for one in decisions}
    assert {one["proposed"] for one in decisions if one["verdicts"][0]["outcome"] == "error"} == {"review"}
    assert [verdicts[name]["error"] for name in ("jpeg.png", "gif.gif", "empty.txt")] == [None] * 3
    bombs = [name for name in verdicts if name.startswith(("004", "005"))]
    assert {verdicts[name]["error"] for name in (*bombs, "unpacks.png", "png.txt", "empty.gif")} == {
        "unsupported_input"
    }
    assert {verdicts[name]["cause"] for name in ("004 right.png", "005 right.png", "unpacks.png")} == {
        "too_many_pixels"
    }
    assert (verdicts["png.txt"]["cause"], verdicts["empty.gif"]["cause"]) == ("not_utf8", "empty")
    assert int(peak.read_text()) < MOST_KILOBYTES


def environment(settings: Settings) -> dict[str, str]:
    """The variables of a process that runs under these settings."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "MODERATION_ENCODERS": f'{{default = {{checkpoint = "{settings.encoders["default"].checkpoint}", device = "cpu"}}}}',
        "MODERATION_IMAGES__MAX_BYTES": str(settings.images.max_bytes),
        "MODERATION_IMAGES__MAX_PIXELS": str(settings.images.max_pixels),
    }
