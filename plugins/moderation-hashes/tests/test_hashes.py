"""What every detector promises, what this one finds, and the command that makes its index."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from moderation_hashes.bands import MATCH_DISTANCE
from moderation_hashes.detector import Hashes, score_of
from moderation_hashes.index import write_index
from moderation_hashes.lists import HashList
from moderation_hashes.pdq import hash_picture
from PIL import Image

from moderation import Abstention, DetectionBatch, Part, Score
from moderation.plugin import manager
from moderation.testing import DetectorKit


def waves(seed: int, *, size: tuple[int, int] = (200, 160)) -> Image.Image:
    """A smooth picture of its own for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def file(image: Image.Image, form: str = "PNG", **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def listed(name: str, *images: Image.Image) -> HashList:
    bits = sorted(hash_picture(np.asarray(image)).bits for image in images)
    return HashList(name, np.frombuffer(b"".join(bits), dtype=np.uint8).reshape(-1, 32), "0" * 64)


@pytest.fixture(scope="module", autouse=True)
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lists of two pictures each; the kit, which loads the plugin by its entry point, is told of them too."""
    path = tmp_path_factory.mktemp("index") / "known.index"
    write_index([listed("gore", waves(1), waves(2)), listed("ncii", waves(3), waves(4))], path)
    TestHashes.settings = {"index": str(path)}
    return path


def judged(path: Path, *contents: bytes) -> list[tuple[Score, ...] | Abstention]:
    return Hashes(path).detect(DetectionBatch(tuple(Part.image(one) for one in contents)))


class TestHashes(DetectorKit):
    make = staticmethod(lambda: Hashes(Path(TestHashes.settings["index"])))
    plugin = "hashes"
    flagged = {
        "gore": [file(waves(1)), file(waves(2), "JPEG", quality=30)],
        "ncii": [file(waves(3, size=(400, 320))), file(waves(4), "WEBP", quality=50)],
    }
    passed = [file(waves(5)), file(Image.new("RGB", (64, 64), "white"))]


def test_it_names_the_list_its_revision_and_the_distance(index: Path) -> None:
    revisions = {one.name: one.revision for one in Hashes(index)._index.lists}
    (answer,) = judged(index, file(waves(1)))
    assert answer == (Score("gore", 1.0, concept=f"gore {revisions['gore']} at distance 0"), Score("ncii", 0.0))


def test_its_revision_is_that_of_the_whole_index(index: Path, tmp_path: Path) -> None:
    write_index([listed("gore", waves(1), waves(2)), listed("ncii", waves(3))], tmp_path / "other.index")
    assert Hashes(index).revision == Hashes(index)._index.digest[:12]
    assert Hashes(index).revision != Hashes(tmp_path / "other.index").revision


def test_what_is_no_picture_is_abstained_from_with_its_cause(index: Path) -> None:
    assert judged(index, b"not a picture", file(waves(1))[:200]) == [
        Abstention("unsupported_input", cause="not_a_picture"),
        Abstention("unsupported_input", cause="truncated"),
    ]


def test_a_picture_with_little_in_it_matches_nothing_even_where_it_is_listed(tmp_path: Path) -> None:
    plain = Image.new("RGB", (64, 64), "white")
    write_index([listed("blank", plain)], tmp_path / "blank.index")
    (answer,) = judged(tmp_path / "blank.index", file(plain))
    assert answer == (Score("blank", 0.0, concept="not matched: quality 0 is below 50"),)


def test_a_score_falls_with_the_distance_and_says_it() -> None:
    scores = [score_of(distance) for distance in range(257)]
    assert scores[0] == 1.0
    assert scores[: MATCH_DISTANCE + 1] == sorted(set(scores[: MATCH_DISTANCE + 1]), reverse=True)
    assert scores[MATCH_DISTANCE] > 0.5
    assert set(scores[MATCH_DISTANCE + 1 :]) == {0.0}
    assert [round(64 * (1 - score)) for score in scores[: MATCH_DISTANCE + 1]] == list(range(MATCH_DISTANCE + 1))


# The command, as a user calls it.


def command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moderation_hashes", *arguments], capture_output=True, text=True, check=False, cwd=folder
    )


def test_lists_become_an_index_that_pictures_are_matched_against(tmp_path: Path) -> None:
    (tmp_path / "gore.csv").write_text(f"pdq,{listed('x', waves(1)).hashes.tobytes().hex()}\nmd5,{'0' * 32}\n")
    (tmp_path / "export.txt").write_text(f"pdq {listed('x', waves(3)).hashes.tobytes().hex()}\n")
    made = command("import", "gore.csv", "ncii=export.txt", "-o", "known.index", folder=tmp_path)
    assert (made.returncode, made.stderr) == (0, "gore: passed over 1 of md5\n")
    assert [line.split()[:1] for line in made.stdout.splitlines()] == [["list"], ["gore"], ["ncii"]]
    assert command("show", "known.index", folder=tmp_path).stdout == made.stdout
    for name, content in (
        ("one.jpg", file(waves(1), "JPEG", quality=30)),
        ("two.png", file(waves(9))),
        ("three.gif", b"GIF89a"),
    ):
        (tmp_path / name).write_bytes(content)
    told = command("match", "known.index", "one.jpg", "two.png", "three.gif", folder=tmp_path)
    assert told.returncode == 0, told.stderr
    one, two, three = told.stdout.splitlines()
    assert 0.5 <= float(one.split()[1]) <= 1.0
    assert one.startswith("one.jpg: ")
    assert " gore " in one
    assert two == "two.png: 0.000 on no list"
    assert three.startswith("three.gif: cannot be judged (unsupported_input, ")


def test_pictures_of_ones_own_become_a_list(tmp_path: Path) -> None:
    for name, content in (
        ("one.png", file(waves(1))),
        ("blank.png", file(Image.new("RGB", (64, 64)))),
        ("no.jpg", b"no picture"),
    ):
        (tmp_path / name).write_bytes(content)
    done = command("hash", "one.png", "blank.png", "no.jpg", folder=tmp_path)
    assert done.stdout == f"pdq,{listed('x', waves(1)).hashes.tobytes().hex()}\n"
    told = done.stderr.splitlines()
    assert told[0] == "blank.png: quality 0 is below 50"
    assert told[1].startswith("no.jpg: unsupported_input: ")


def test_bad_lines_of_all_lists_are_told_without_a_traceback_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("pdq,c0ffee\n")
    (tmp_path / "two.csv").write_text("pdq,c0ffee\n")
    failed = command("import", "one.csv", "two.csv", "-o", "known.index", folder=tmp_path)
    assert failed.returncode == 13
    assert "one.csv:1:0: H003" in failed.stderr
    assert "two.csv:1:0: H003" in failed.stderr
    assert "c0ffee" not in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not (tmp_path / "known.index").exists()


def test_two_lists_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(f"pdq,{'0' * 64}\n")
    failed = command("import", "one.csv", "one.csv", "-o", "known.index", folder=tmp_path)
    assert failed.returncode == 2
    assert "each with a name of its own" in " ".join(failed.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "loaded"),
        ({"index": "/nowhere/known.index"}, "cannot be read: No such file"),
        ({"index": "known.index"}, "/beside/the/settings/known.index"),
        ({"indices": "known.index"}, "its settings have indices; expected index alone"),
    ],
)
def test_without_an_index_the_plugin_brings_nothing_and_with_a_bad_one_it_is_broken(
    settings: dict[str, str], expected: str
) -> None:
    (found,) = [
        one
        for one in manager.load(
            only=("hashes",), settings={"hashes": settings}, folder=Path("/beside/the/settings")
        ).records
        if one.id == "hashes"
    ]
    assert expected in f"{found.state} {found.cause}"
    assert found.detectors == ()
