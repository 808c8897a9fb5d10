from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from moderation.encoder import images
from moderation.encoder.header import read_header
from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.settings import ImageLimits
from tests.conftest import ROOT
from tests.unit.encoder.pictures import encoded, jpeg, picture

LIMITS = ImageLimits()
ROTATED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
FORMS = ("JPEG", "PNG", "WEBP", "GIF")


def refusal(content: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(ItemError) as caught:
        decode(content, limits)
    assert caught.value.reason == "unsupported_input"
    return str(caught.value)


def cause(content: bytes, limits: ImageLimits = LIMITS) -> str:
    with pytest.raises(ItemError) as caught:
        decode(content, limits)
    return caught.value.cause


def pixel(content: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = decode(content, LIMITS)
    assert image.mode == "RGB"
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_the_header_says_what_pillow_finds(form: str, mode: str) -> None:
    shape = (37, 91)
    image = picture(*shape, mode="L" if form in ("JPEG", "WEBP") and mode in ("P", "1") else mode)
    header = read_header(encoded(image, form))
    assert (header.format, header.width, header.height) == (form, *shape)
    assert decode(encoded(image, form), LIMITS).size == shape


@pytest.mark.parametrize(
    ("options", "chunk"), [({"lossless": True}, b"VP8L"), ({}, b"VP8 "), ({"exif": ROTATED}, b"VP8X")]
)
def test_the_three_webp_headers(options: dict[str, object], chunk: bytes) -> None:
    content = encoded(picture(33, 17), "WEBP", **options)
    assert content[12:16] == chunk
    assert (read_header(content).width, read_header(content).height) == (33, 17)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_lossless_pixels_come_through_unchanged(form: str) -> None:
    image = picture()
    assert np.array_equal(decode(encoded(image, form, lossless=True), LIMITS), image)


def test_too_many_bytes_are_refused() -> None:
    content = jpeg()
    assert str(len(content)) in refusal(content, ImageLimits(max_bytes=len(content) - 1))


@pytest.mark.parametrize("form", FORMS)
def test_too_many_pixels_are_refused_before_a_decoder_sees_them(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: object) -> None:
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(images, "_OPENERS", dict.fromkeys(FORMS, never))
    assert "80x60" in refusal(encoded(picture(), form), ImageLimits(max_pixels=80 * 60 - 1))


def png_bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


def jpeg_bomb(width: int, height: int) -> bytes:
    content = bytearray(jpeg())
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def gif_bomb(width: int, height: int) -> bytes:
    content = bytearray(encoded(picture(), "GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def gif_frame_bomb(width: int, height: int) -> bytes:
    """A small screen, but a frame that reaches far beyond it."""
    content = bytearray(encoded(picture(), "GIF"))
    at = content.index(b"\x2c\0\0\0\0")
    content[at + 5 : at + 9] = struct.pack("<HH", width, height)
    return bytes(content)


def webp_bomb(width: int, height: int) -> bytes:
    content = bytearray(encoded(picture(), "WEBP", exif=ROTATED))
    content[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(content)


BOMBS: list[Callable[[int, int], bytes]] = [png_bomb, jpeg_bomb, gif_bomb, gif_frame_bomb, webp_bomb]


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 10_000), (65_000, 700)])
def test_a_bomb_is_refused_by_its_header(bomb: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    assert f"{size[0]}x{size[1]} pixels" in refusal(bomb(*size))


def test_what_a_phone_puts_behind_a_jpeg_is_no_scan_of_it() -> None:
    film = b"\xff\xda" * 1000
    assert decode(jpeg() + film, LIMITS).size == decode(jpeg(), LIMITS).size


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    content = encoded(picture(), "JPEG", progressive=True)
    decode(content, LIMITS)
    scan = content[content.rindex(b"\xff\xda") : -2]
    assert "scans" in refusal(content[:-2] + scan * 1000 + content[-2:])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_refused(form: str, share: float) -> None:
    content = encoded(picture(300, 200), form)
    assert cause(content[: int(len(content) * share)]) == "truncated"


def test_a_preview_in_a_jpeg_ends_before_the_picture_does() -> None:
    exif = Image.Exif()
    exif[0x927C] = jpeg(20, 15)  # a maker's note, where cameras keep a preview with an end of its own
    content = encoded(picture(300, 200), "JPEG", exif=exif)
    assert content.index(b"\xff\xd9") < len(content) // 2
    assert cause(content[: len(content) // 2]) == "truncated"


def test_why_a_picture_is_refused_is_told_in_one_word() -> None:
    whole = encoded(picture(), "PNG")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    assert cause(b"") == "empty"
    assert cause(bytes(flipped)) == "damaged"
    assert cause(whole, ImageLimits(max_pixels=100)) == "too_many_pixels"
    assert cause(whole, ImageLimits(max_bytes=100)) == "too_many_bytes"


OTHERS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "psd": b"8BPS\0\1" + bytes(40),
    "pdf": b"%PDF-1.7\n",
    "tiff": encoded(picture(), "TIFF"),
    "bmp": encoded(picture(), "BMP"),
    "ico": encoded(picture(), "ICO"),
    "jpeg2000": encoded(picture(), "JPEG2000"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "text": b"hello",
    "empty": b"",
    "wave": b"RIFF\0\0\0\0WAVEfmt " + bytes(40),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_refused(name: str) -> None:
    assert cause(OTHERS[name]) == ("empty" if name == "empty" else "not_a_picture")


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_read(form: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert pixel(content)[0] > 240
    assert pixel(content)[2] < 15


def test_cmyk_keeps_its_colours() -> None:
    content = encoded(Image.new("RGB", (16, 16), (200, 30, 60)).convert("CMYK"), "JPEG", quality=95)
    assert np.abs(np.subtract(pixel(content), (200, 30, 60))).max() < 12


def test_sixteen_bit_grey_keeps_its_tones() -> None:
    """moderation-anchors: Pillow's own conversion makes everything above 255 white, an evasion by washing out."""
    tones = np.array([[0, 300, 20_000, 40_000, 65_535]], dtype=np.uint16)
    content = encoded(Image.fromarray(tones))
    assert [pixel(content, (x, 0)) for x in range(5)] == [(v,) * 3 for v in (0, 1, 78, 156, 255)]


def test_sixteen_bit_grey_with_a_transparent_tone() -> None:
    content = encoded(Image.fromarray(np.array([[300, 40_000]], dtype=np.uint16)), transparency=300)
    assert [pixel(content, (x, 0)) for x in range(2)] == [(255,) * 3, (156,) * 3]


@pytest.mark.parametrize(("form", "mode"), [("PNG", "RGBA"), ("WEBP", "RGBA"), ("PNG", "LA")])
def test_hidden_colours_stay_hidden(form: str, mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert(mode)
    assert pixel(encoded(image, form, lossless=True, exact=True)) == (255, 255, 255)


def test_half_transparent_is_half_white() -> None:
    assert pixel(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 127)))) == (128, 128, 128)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(form: str) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    content = encoded(image, form, transparency=1)
    assert pixel(content) == (255, 0, 0)
    assert pixel(content, (4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(form: str, orientation: int) -> None:
    upright = picture(40, 24)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transpose that a camera's orientation undoes
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(encoded(stored, form, exif=exif, quality=95, lossless=True), LIMITS)
    assert found.size == upright.size
    assert np.abs(np.asarray(found, dtype=int) - np.asarray(upright, dtype=int)).mean() < 10


def test_a_broken_animation_is_a_still_picture_and_no_warning() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    content = bytearray(encoded(frames[0], save_all=True, append_images=frames[1:]))
    at = content.index(b"acTL") + 4
    content[at : at + 4] = bytes(4)  # an animation of no frames
    content[at + 8 : at + 12] = struct.pack(">I", zlib.crc32(content[at - 4 : at + 8]))
    assert pixel(bytes(content)) == (255, 0, 0)


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", ROTATED[:20], ROTATED[:-8] + b"\x09\0\0\0\0\0\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_unreadable_exif_is_ignored(exif: bytes) -> None:
    assert decode(encoded(picture(), "JPEG", exif=exif), LIMITS).size == (80, 60)
    assert decode(encoded(picture(), "JPEG", exif=ROTATED), LIMITS).size == (60, 80)


# Not ru_maxrss: a child starts with the one of the process that forked it, here a pytest that has loaded torch.
PEAK = """
from pathlib import Path
def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
"""
LARGE = (
    PEAK
    + """
import sys
from moderation.encoder.images import decode
from moderation.settings import ImageLimits
decode(sys.stdin.buffer.read(), ImageLimits())
print(peak())
"""
)


@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_the_largest_picture_allowed_takes_a_known_amount_of_memory(mode: str) -> None:
    """Sixteen bytes a pixel at most, beside the interpreter."""
    content = encoded(Image.new(mode, (6300, 6300)), compress_level=1)
    done = subprocess.run([sys.executable, "-c", LARGE], input=content, capture_output=True, cwd=ROOT, check=True)
    assert int(done.stdout) * 1024 < 100e6 + 16 * 40e6


FUZZ = (
    PEAK
    + """
import json, resource, sys, warnings
resource.setrlimit(resource.RLIMIT_AS, (3_000_000_000, 3_000_000_000))
warnings.simplefilter("error")
from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.settings import ImageLimits
from tests.unit.encoder.test_images import mutations
outcomes = {}
for content in mutations(int(sys.argv[1])):
    try:
        decode(content, ImageLimits())
        outcome = "decoded"
    except ItemError as error:
        outcome = error.reason
    outcomes[outcome] = outcomes.get(outcome, 0) + 1
print(json.dumps([outcomes, peak()]))
"""
)


def mutations(count: int) -> Iterator[bytes]:
    """Damaged pictures from a seed: cut, bits flipped, bytes overwritten, two files spliced, bombs, other formats."""
    random = np.random.default_rng(20)
    seeds = [encoded(picture(120, 90, seed=n), form) for n, form in enumerate(FORMS * 2)]
    seeds += [encoded(picture(90, 70).convert("RGBA")), encoded(picture(), "JPEG", progressive=True)]
    seeds += [encoded(picture(50, 40), "GIF", save_all=True, append_images=[picture(50, 40, seed=1)])]
    whole = [bomb(50_000, 50_000) for bomb in BOMBS] + list(OTHERS.values())
    yield from whole
    for _ in range(count - len(whole)):
        content = bytearray(seeds[random.integers(len(seeds))])
        match random.integers(4):
            case 0:
                content = content[: random.integers(len(content))]
            case 1:
                for at in random.integers(0, len(content), random.integers(1, 20)):
                    content[at] ^= 1 << random.integers(8)
            case 2:  # headers are where lengths and sizes stand
                for at in random.integers(0, min(64, len(content)), random.integers(1, 6)):
                    content[at] = random.integers(256)
            case _:
                other = seeds[random.integers(len(seeds))]
                content = content[: random.integers(len(content))] + other[random.integers(len(other)) :]
        yield bytes(content)


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=pytest.mark.soak)])
def test_damaged_pictures_give_an_outcome_each_in_bounded_memory(count: int) -> None:
    command = [sys.executable, "-c", FUZZ, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes, kilobytes = json.loads(done.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == count
    assert set(outcomes) == {"decoded", "unsupported_input"}
    assert outcomes["unsupported_input"] >= count / 2
    assert kilobytes < 300_000
