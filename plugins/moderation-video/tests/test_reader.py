"""The reader by the contract of readers, and what it says of videos that are hostile, broken, or unlike others."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import BLUE, GREEN, GREY, RED, WHITE, Picture, film, plain, sound
from moderation_video import frames, reader
from moderation_video.frames import Chosen, UnreadError
from moderation_video.limits import Limits
from moderation_video.reader import Frames
from PIL import Image

from moderation.decision import Abstention
from moderation.item import Part
from moderation.plugin_sections import ReaderSettings
from moderation.testing import ReaderKit


class TestFrames(ReaderKit):
    make = Frames
    plugin = "video"
    many = 6
    holding = [Part.video(film([(RED, 0.5)])), Part.video(film([(RED, 0.5), (BLUE, 0.5)], form="matroska"))]


def read(content: bytes, **limits: float) -> list[Part]:
    (answer,) = Frames(Limits(**limits)).read((Part.video(content),))
    assert not isinstance(answer, Abstention), answer
    return answer


def why_not(content: bytes, **limits: float) -> str:
    (answer,) = Frames(Limits(**limits)).read((Part.video(content),))
    assert isinstance(answer, Abstention), answer
    assert answer.reason == "unsupported_input"
    return answer.cause


def opened(part: Part) -> Image.Image:
    return Image.open(io.BytesIO(part.content))


def is_colour(part: Part, colour: tuple[int, int, int], *, within: int = 12) -> bool:
    return bool(np.abs(np.asarray(opened(part), dtype=int) - colour).mean() < within)


def patched(content: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    """The file with other bytes at this place behind the name of a box."""
    at = content.index(box) + len(box) + offset
    return content[:at] + value + content[at + len(value) :]


# What is taken


def test_pictures_at_an_interval_the_first_and_the_last_and_where_the_scene_changes() -> None:
    parts = read(film([(RED, 2.5), (GREEN, 1.2), (BLUE, 1)]))
    assert [one.name for one in parts] == ["t=0.000", "t=1.000", "t=2.000", "t=2.500", "t=3.000", "t=3.700", "t=4.000", "t=4.600"]  # fmt: skip
    shown = [RED, RED, RED, GREEN, GREEN, BLUE, BLUE, BLUE]
    assert all(is_colour(part, colour) for part, colour in zip(parts, shown, strict=True))


def test_a_single_frame_in_between_is_seen() -> None:
    green = [part.name for part in read(film([(RED, 2.3), (GREEN, 0.1), (RED, 2)])) if is_colour(part, GREEN)]
    assert green == ["t=2.300"]


def test_a_single_frame_at_the_end_is_seen_even_where_keyframes_are_all_that_is_decoded() -> None:
    long = film([(RED, 70), (GREEN, 0.1)], keyframes=5)
    parts = read(long, most_frames=64, every_seconds=10)
    assert parts[-1].name == "t=70.000"
    assert is_colour(parts[-1], GREEN)


def test_of_a_long_video_with_close_keyframes_they_are_all_that_is_decoded() -> None:
    flash = film([(RED, 61.3), (GREEN, 0.1), (RED, 10)], keyframes=10)
    assert not any(is_colour(part, GREEN) for part in read(flash, every_seconds=4))
    assert any(is_colour(part, GREEN) for part in read(flash, every_seconds=4, in_full_seconds=80))


def test_of_a_long_video_with_few_keyframes_every_frame_is_decoded() -> None:
    flash = film([(RED, 61.3), (GREEN, 0.1), (RED, 10)], keyframes=10_000)
    assert any(is_colour(part, GREEN) for part in read(flash, every_seconds=4))


@pytest.fixture
def all_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every packet is said to hold a keyframe. Of the usual codecs libav asks the packet itself, so that no file can say so."""
    true = frames._packets
    monkeypatch.setattr(frames, "_packets", lambda *given: ((place, at, True) for place, at, _ in true(*given)))


@pytest.mark.usefixtures("all_keys")
def test_a_file_that_lies_about_its_keyframes_is_decoded_in_full() -> None:
    lying = film([(RED, 30), (GREEN, 10), (RED, 30)], keyframes=10_000)
    names = [name for name, _ in frames.take(io.BytesIO(lying), Limits(every_seconds=4))]
    assert {"t=28.000", "t=32.000", "t=36.000", "t=40.000"} <= set(names)


@pytest.mark.usefixtures("all_keys")
def test_a_decoder_that_leaves_out_too_much_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Chosen, "add", lambda self, second, frame: setattr(self, "latest", (0.0, frame)))
    with pytest.raises(UnreadError, match="damaged"):
        frames.take(io.BytesIO(film([(RED, 5)])), Limits())


def test_no_more_pictures_than_allowed_the_greatest_changes_first() -> None:
    restless = film([scene for one in range(20) for scene in ((RED if one % 2 else GREY, 0.2), (GREY, 0.2))])
    parts = read(restless, most_frames=16)
    assert len(parts) <= 16
    assert {"t=0.000", "t=7.900"} <= {one.name for one in parts}


@pytest.mark.parametrize("before", [0.7, 3.4, 8.9])
def test_whatever_lasts_a_step_and_a_frame_is_seen_however_restless_the_rest(before: float) -> None:
    """With most_frames = 16, 12 are for the interval: a step is an eleventh of the 11 seconds and of the last 0.1, so 1.1 seconds will do."""
    noise = [((RED, GREEN)[one % 2], 0.1) for one in range(round(10 * (9.9 - before)))]
    parts = read(film([(WHITE, before), (BLUE, 1.1), *noise]), most_frames=16)
    assert len(parts) <= 16
    assert any(is_colour(part, BLUE) for part in parts)


def test_frames_of_one_moment_are_told_apart() -> None:
    """Matroska counts milliseconds: of these six frames some have the same."""
    parts = read(film([(RED, 0.0008), (GREEN, 0.0008), (BLUE, 0.0008)], rate=2500, form="matroska"))
    names = [one.name for one in parts]
    assert any(one.endswith("-2") for one in names)
    assert len(set(names)) == len(names)
    assert any(is_colour(one, GREEN) for one in parts)


# How it is shown


@pytest.mark.parametrize(
    ("form", "codec", "pixels"),
    [
        ("matroska", "libvpx-vp9", "yuv420p"),
        ("webm", "libvpx", "yuv420p"),
        ("avi", "mpeg4", "yuv420p"),
        ("avi", "mjpeg", "yuvj444p"),
        ("mov", "prores_ks", "yuv422p10le"),
        ("matroska", "libx264", "yuv444p10le"),
        ("matroska", "libx264", "yuv422p"),
    ],
)
def test_forms_codecs_and_formats_of_pixels(form: str, codec: str, pixels: str) -> None:
    parts = read(film([(RED, 0.5), (GREEN, 0.5)], form=form, codec=codec, pixels=pixels))
    assert [one.name for one in parts] == ["t=0.000", "t=0.500", "t=0.900"]
    assert [is_colour(part, colour) for part, colour in zip(parts, (RED, GREEN, GREEN), strict=True)] == [True] * 3


def halves(left: tuple[int, int, int], right: tuple[int, int, int]) -> Picture:
    return np.concatenate([plain(left, 48), plain(right, 48)], axis=1)


@pytest.mark.parametrize(
    ("turn", "size", "corner"), [(90, (64, 96), BLUE), (-90, (64, 96), RED), (180, (96, 64), BLUE)]
)
def test_a_turned_video_is_set_upright(turn: int, size: tuple[int, int], corner: tuple[int, int, int]) -> None:
    """The left half is red. Turned to the left its top is the right half's blue."""
    (part, *_) = read(film([(halves(RED, BLUE), 0.3)], prepare=lambda stream: stream.set_display_rotation(turn)))
    assert opened(part).size == size
    assert np.abs(np.asarray(opened(part), dtype=int)[8, 8] - corner).max() < 20


def test_wide_pixels_are_shown_wide() -> None:
    def wide(stream: object) -> None:
        stream.codec_context.sample_aspect_ratio = 2

    (part, *_) = read(film([(RED, 0.3)], prepare=wide))
    assert opened(part).size == (192, 64)


@pytest.mark.parametrize(("transfer", "white"), [(16, 148), (18, 191)])
def test_hdr_is_brought_back(transfer: int, white: int) -> None:
    """Diffuse white is 58 % of the signal in PQ and 75 % in HLG (ITU-R BT.2408); black stays black."""

    def hdr(stream: object) -> None:
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, 9, 9

    scenes = [((white,) * 3, 0.3), ((0, 0, 0), 0.3)]
    light, dark = (read(film(scenes, pixels="yuv420p10le", form="matroska", prepare=hdr))[at] for at in (0, -1))
    assert is_colour(light, (252, 252, 252))
    assert is_colour(dark, (0, 0, 0))


def test_pictures_are_scaled_down_and_never_up() -> None:
    large = film([(plain(RED, 640, 320), 0.2)], size=(640, 320))
    assert opened(read(large, longest_side=100)[0]).size == (100, 50)
    assert opened(read(large)[0]).size == (640, 320)


# What cannot be read


def test_every_stream_is_looked_at() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as made:
        streams = [made.add_stream("libx264", rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height = 96, 64
        for stream, colour in zip(streams, (RED, GREEN), strict=True):
            for _ in range(5):
                made.mux(stream.encode(av.VideoFrame.from_ndarray(plain(colour), format="rgb24")))
            made.mux(stream.encode())
    parts = read(file.getvalue())
    assert [one.name for one in parts] == ["t=0.000", "t=0.400", "stream-1:t=0.000", "stream-1:t=0.400"]
    assert is_colour(parts[2], GREEN)


def test_sound_alone_is_not_taken_for_harmless() -> None:
    assert why_not(sound()) == "no_video_stream"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"GIF89a" + bytes(100),
    ],
)
def test_what_is_no_container_is_never_opened(content: bytes) -> None:
    """Play lists would be opened by libav, and the files that they name."""
    assert why_not(content) == "wrong_container"


@pytest.mark.parametrize(
    ("form", "list_"),
    [
        ("concat", "ffconcat version 1.0\nfile secret.mp4\n"),
        ("hls", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"),
    ],
)
def test_nothing_that_a_file_names_is_opened(
    form: str, list_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where a play list were taken for a container, as libav's other formats have had ways to name files."""
    (tmp_path / "secret.mp4").write_bytes(film([(RED, 0.5)]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(frames, "form_of", lambda _head: form)
    with pytest.raises((av.FFmpegError, UnreadError)):
        frames.take(io.BytesIO(list_.encode()), Limits())


def test_a_codec_that_is_not_on_the_list_is_not_decoded() -> None:
    assert why_not(film([(RED, 0.5)], form="avi", codec="ffv1")) == "unknown_codec"


def test_too_long() -> None:
    assert why_not(film([(RED, 61)], rate=2), most_seconds=60) == "too_long"


def jpegs(pictures: Sequence[bytes], size: tuple[int, int]) -> bytes:
    """A video whose every frame is one of these files, ten a second; the header has this size."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as made:
        stream = made.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuvj420p"
        stream.codec_context.open()
        for number, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 10), number, number
            packet.is_keyframe = True
            made.mux(packet)
    return file.getvalue()


def still(picture: Picture) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG")
    return file.getvalue()


def test_too_many_pixels() -> None:
    assert why_not(jpegs([still(plain(RED, 4096, 4096))] * 3, (4096, 4096))) == "too_many_pixels"


def test_too_many_pixels_in_a_frames_own_header() -> None:
    claims = patched(still(plain(RED)), b"\xff\xc0", 3, struct.pack(">HH", 16384, 16384))
    assert why_not(jpegs([still(plain(RED))] * 3 + [claims], (96, 64))) == "damaged"


def test_more_memory_than_allowed() -> None:
    claims = patched(still(plain(RED)), b"\xff\xc0", 3, struct.pack(">HH", 16384, 16384))
    video = jpegs([still(plain(RED))] * 3 + [claims], (96, 64))
    assert why_not(video, most_pixels=10**9, memory_bytes=500_000_000) in {"too_much_memory", "damaged"}


def test_a_size_that_changes_on_the_way() -> None:
    def growing(size: tuple[int, int]) -> bytes:
        return jpegs([still(plain(RED))] * 5 + [still(plain(GREEN, *size))] * 5, (96, 64))

    assert [opened(one).size for one in read(growing((160, 120)))] == [(96, 64), (160, 120), (160, 120)]
    assert why_not(growing((1600, 1200)), most_pixels=100_000) == "damaged"


def test_a_header_that_claims_a_thousand_million_frames() -> None:
    claims = patched(film([(RED, 0.5)]), b"stsz", 4, struct.pack(">II", 7, 1_000_000_000))
    claims = patched(claims, b"stts", 4, struct.pack(">III", 1, 1_000_000_000, 1))
    assert why_not(claims)


@pytest.mark.parametrize("scale", [1_000_000_000, 0])
def test_a_time_base_that_cannot_be(scale: int) -> None:
    """Frames a nanosecond apart would all be the first one's neighbours, and only that one be looked at."""
    assert why_not(patched(film([(RED, 3), (GREEN, 3)]), b"mdhd", 12, struct.pack(">I", scale))) in {"bad_times", "damaged", "too_long"}  # fmt: skip


def test_of_a_video_that_was_cut_off_is_seen_what_is_there() -> None:
    chance = np.random.default_rng(0)
    noise = film([(chance.integers(0, 255, (64, 96, 3), dtype=np.uint8), 0.1) for _ in range(20)], form="matroska")
    assert read(noise)[-1].name == "t=1.900"
    assert "t=1.000" <= read(noise[: len(noise) * 2 // 3])[-1].name < "t=1.900"


def test_a_file_without_its_index_is_told() -> None:
    assert why_not(film([(RED, 1)])[:-100]) == "no_frames"


def test_broken_frames_are_told() -> None:
    chance = np.random.default_rng(0)
    noise = film([(chance.integers(0, 255, (64, 96, 3), dtype=np.uint8), 0.1) for _ in range(20)])
    middle = len(noise) // 2
    assert why_not(noise[:middle] + b"\xff" * 2000 + noise[middle + 2000 :]) == "damaged"


def test_what_an_edit_list_cuts_out_is_seen_too() -> None:
    """Not every player keeps to it."""
    shown = film([(RED, 2), (GREEN, 2)])
    cut = patched(shown, b"elst", 8, struct.pack(">I", 1000))
    assert [is_colour(part, GREEN) for part in read(cut)] == [False, False, True, True, True]


def test_broken_bytes_are_pictures_or_a_reason_and_never_a_crash() -> None:
    whole, chance = film([(RED, 0.5), (GREEN, 0.5)], form="matroska"), np.random.default_rng(1)
    broken = []
    for _ in range(8):
        content = bytearray(whole)
        for at in chance.integers(0, len(content), 8):
            content[at] = chance.integers(0, 256)
        broken.append(Part.video(bytes(content)))
    for answer in Frames().read(tuple(broken)):
        assert not isinstance(answer, Abstention) or answer.reason == "unsupported_input"


def test_more_work_than_allowed() -> None:
    noise = still(np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), dtype=np.uint8))
    assert why_not(jpegs([noise] * 100, (1920, 1080)), processor_seconds=1) == "too_much_work"


def pretending(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(reader, "_COMMAND", (sys.executable, "-c", code))


def test_a_decoder_that_crashes_is_the_videos_fault_and_rests_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    pretending(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert why_not(film([(RED, 0.2)])) == "SIGSEGV"


def test_a_decoder_that_hangs_is_ended_at_the_deadline_of_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pretending(monkeypatch, "import time; time.sleep(60)")
    answers = Frames(timeout_seconds=0.5).read((Part.video(film([(RED, 0.2)])),) * 3)
    assert answers == [Abstention("reader_timeout")] * 3


def test_a_process_that_cannot_start_is_told_when_the_reader_is_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pretending(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match="is PyAV installed"):
        Frames().verify()


def test_the_process_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_CACHE__REDIS__URL", "redis://:secret@host")
    pretending(monkeypatch, "import os, sys; sys.exit(any(one.startswith('MODERATION_') for one in os.environ) + 40)")
    (answer,) = Frames().read((Part.video(film([(RED, 0.2)])),))
    assert answer == Abstention("reader_error", cause="exit_40")
    assert "MODERATION_CACHE__REDIS__URL" in os.environ


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_no_file_is_left_open() -> None:
    video = Part.video(film([(RED, 0.2)]))
    before = len(list(Path("/proc/self/fd").iterdir()))
    Frames().read((video, video))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_changes_the_pictures_changes_the_revision() -> None:
    assert Frames().revision == Frames(timeout_seconds=9.0).revision != Frames(Limits(every_seconds=2.0)).revision


def test_nothing_of_the_folder_it_is_started_in_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("resource", "av", "json"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    (reading,) = Frames().read((Part.video(film([(RED, 1.0)])),))
    assert not isinstance(reading, Abstention)
    assert not (tmp_path / "ran").exists()


def test_it_is_done_before_it_is_given_up() -> None:
    assert Frames()._timeout_seconds < ReaderSettings().timeout_seconds
