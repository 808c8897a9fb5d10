"""Scans: one decision for every item whatever it is, the pipeline's own decisions, and a summary that adds up."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moderation import assemble
from moderation.cli import summary
from moderation.cli.lock_words import UNCERTIFIED
from moderation.cli.summary import Summary
from moderation.decision import Score
from moderation.detector.base import Detection, DetectionBatch
from moderation.encoder.base import Encoded
from moderation.encoder.images import decode
from moderation.errors import ExitCode, ItemError
from moderation.item import ContentItem, Modality, Part
from moderation.policy.lock import lock_path, write_lock
from moderation.release.record import Change, Record, encode_record, record_path
from moderation.settings import ImageLimits, Settings
from tests.fakes import FakeDetector, FakeEncoder, FakeReader, action, lock, plugins_with
from tests.unit.cli.conftest import Run
from tests.unit.encoder.pictures import jpeg


@pytest.fixture
def weapons(tmp_path: Path) -> Path:
    path = lock_path(tmp_path / "build", "weapons")
    write_lock(lock(), path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    contents = {
        "a.png": "1.0",
        "b.png": "0.0",
        "c.png": "not a picture",
        "d.png": "1.0",
        "e.txt": "hello",
        "f.doc": "x",
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    (folder / "huge.png").write_bytes(b"0" * 2000)
    return folder


def decisions(out: str) -> dict[str, dict[str, Any]]:
    return {Path(one["item_id"]).name: one for one in map(json.loads, out.splitlines())}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODERATION_IMAGES__MAX_BYTES", "1000")


def test_every_item_has_one_decision(encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run) -> None:
    code, out, err = run("scan", pictures, "--policy", weapons, "--json")
    assert code == ExitCode.OK
    found = decisions(out)
    assert list(found) == ["a.png", "b.png", "c.png", "d.png", "e.txt", "huge.png"]
    outcomes = {name: [verdict["outcome"] for verdict in one["verdicts"]] for name, one in found.items()}
    assert outcomes == {
        "a.png": ["match"], "b.png": ["no_match"], "c.png": ["error"], "d.png": ["match"], "e.txt": [], "huge.png": ["error"],
    }  # fmt: skip
    assert {name: one["proposed"] for name, one in found.items()} == {
        "a.png": "remove", "b.png": "allow", "c.png": "review", "d.png": "remove", "e.txt": "allow", "huge.png": "review",
    }  # fmt: skip
    assert "larger than 1000 bytes" in err


def test_a_scan_decides_as_the_pipeline_does(encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run) -> None:
    _, out, _ = run("scan", pictures / "a.png", "--policy", weapons, "--json")
    (found,) = map(json.loads, out.splitlines())
    one = ContentItem(found["item_id"], (Part.image((pictures / "a.png").read_bytes()),))
    (expected,) = assemble.pipeline(Settings(), [weapons]).decide([one])
    assert {**expected.to_dict(), "timing": None} == {**found, "timing": None}


def test_the_same_scan_gives_the_same_decisions(encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run) -> None:
    first, second = (decisions(run("scan", pictures, "--policy", weapons, "--json")[1]) for _ in range(2))
    assert [{**one, "timing": 0} for one in first.values()] == [{**one, "timing": 0} for one in second.values()]


def test_the_summary_adds_up(encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run) -> None:
    code, out, _ = run("scan", pictures, "--policy", weapons)
    assert code == ExitCode.OK
    lines = [line.split() for line in out.splitlines()]
    assert any(line[:2] == ["6", "items"] for line in lines)
    assert ["remove", "2", "0"] in lines
    assert ["allow", "2", "6"] in lines
    assert "not live, so nothing is asked for: weapons (draft)" in out
    assert ["weapons", "2", "0", "1", "2"] in lines
    assert ["weapons", "unsupported_input", "1"] in lines
    assert ["weapons", "unsupported_input", "too_many_bytes", "1"] in lines
    assert "in no policy's scope: 1 item\n" in out
    kinds = ".gif, .jpeg, .jpg, .jsonl, .parquet, .png, .txt, .webp"
    assert f"of another kind: 1 file ({pictures / 'f.doc'}); read are {kinds}\n" in out
    flagged = [line for line in out.splitlines() if line.startswith(("remove ", "review "))]
    assert [Path(line.split()[1]).name for line in flagged] == ["a.png", "c.png", "d.png", "huge.png"]


class Decoding(FakeEncoder):
    """Opens pictures as every encoder does; what it can open is in breach."""

    def encode_images(self, images: Sequence[bytes]) -> Encoded:
        errors: dict[int, ItemError] = {}
        for row, content in enumerate(images):
            try:
                decode(content, ImageLimits(max_pixels=10_000))
            except ItemError as error:
                errors[row] = error
        return Encoded(super().encode_images([b"1.0"] * len(images)).vectors, errors)


def test_the_cause_is_told_of_every_picture_that_cannot_be_read(
    weapons: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODERATION_IMAGES__MAX_BYTES", "100000")
    monkeypatch.setattr("moderation.assemble.encoder", lambda *_args, **_options: Decoding())
    folder, whole = tmp_path / "bad", jpeg()
    folder.mkdir()
    contents = {
        "cut1.jpg": whole[:900], "cut2.jpg": whole[:1000], "cut3.jpg": whole[:1100], "cut4.jpg": whole[:1200],
        "empty.png": b"", "large.jpg": jpeg(200, 200), "prose.png": b"a name proves nothing", "whole.jpg": whole,
        "huge.png": b"0" * 100_001,
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "items.jsonl").write_text('{"id": "gone", "path": "gone.png"}\n{"id": "odd"}\nnonsense\n')
    target = tmp_path / "summary.json"
    code, out, _ = run("scan", folder, "--policy", weapons, "--json", "--summary", target)
    verdicts = {name: one["verdicts"][0] for name, one in decisions(out).items()}
    assert code == ExitCode.OK
    assert {name: one["cause"] for name, one in verdicts.items()} == {
        "cut1.jpg": "truncated", "cut2.jpg": "truncated", "cut3.jpg": "truncated", "cut4.jpg": "truncated",
        "empty.png": "empty", "huge.png": "too_many_bytes", "gone": "no_such_file", "items.jsonl:2": "wrong_item",
        "items.jsonl:3": "not_json", "large.jpg": "too_many_pixels", "prose.png": "not_a_picture", "whole.jpg": None,
    }  # fmt: skip
    names = ", ".join(f"{folder}/cut{number}.jpg" for number in (1, 2, 3))
    assert f"unsupported_input (truncated): 4 items ({names}, …)\n" in run("scan", folder, "--policy", weapons)[1]
    found = json.loads(target.read_text())["causes"]
    assert found[0] == {
        "error": "unsupported_input",
        "cause": "truncated",
        "items": 4,
        "first": names.split(", "),
    }


def test_the_summary_as_json_holds_every_count_and_every_file_left_alone(
    encoder: FakeEncoder, weapons: Path, pictures: Path, tmp_path: Path, run: Run
) -> None:
    for number in range(5):
        (pictures / f"{number}.doc").write_text("")
    target = tmp_path / "summary.json"
    _, out, _ = run("scan", pictures, "--policy", weapons, "--summary", target)
    found = json.loads(target.read_text())
    assert (found["schema"], found["items"], found["out_of_scope"]) == ("scan-summary/v1", 6, 1)
    assert found["policies"] == {"weapons": {"match": 2, "review": 0, "no_match": 1, "error": 2}}
    # By force, weakest first, whatever was counted most.
    assert list(found["proposed"].items()) == [("allow", 2), ("review", 2), ("remove", 2)]
    assert (found["actions"], found["not_live"]) == ({"allow": 6}, {"weapons": "draft"})
    assert out.index("  allow ") < out.index("  review ") < out.index("  remove ")
    assert [Path(one).name for one in found["left_alone"]] == [*(f"{number}.doc" for number in range(5)), "f.doc"]
    assert f"6 files ({', '.join(str(pictures / f'{number}.doc') for number in range(3))}, …); read are " in out


def test_a_plugins_detector_is_named_where_it_carries_a_verdict_and_where_it_fails(
    encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(batch: DetectionBatch) -> list[Detection]:
        if batch.parts[0].content == b"0.25":
            raise KeyError("content")
        return [(Score("knives", 0.99, concept="a long blade"),) for _ in batch.parts]

    brought = plugins_with(FakeDetector("shapes", answer, labels=("knives",), modalities=[Modality.IMAGE]))
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: brought)
    write_lock(lock(detectors=("shapes/knives",)), weapons)
    (pictures / "fails.png").write_text("0.25")
    said = {}
    for name in ("b.png", "fails.png"):
        (one,) = json.loads(run("scan", pictures / name, "--policy", weapons, "--json")[1])["verdicts"]
        said[name] = tuple(one[key] for key in ("detector", "label", "concept", "error", "cause"))
    assert said == {
        "b.png": ("shapes", "knives", "a long blade", None, None),
        "fails.png": ("shapes", None, "1.0", "detector_error", "KeyError"),
    }
    assert "(shapes/knives: a long blade)\n" in run("scan", pictures / "b.png", "--policy", weapons)[1]
    assert "error: detector_error (shapes: KeyError)\n" in run("scan", pictures / "fails.png", "--policy", weapons)[1]


def test_a_place_in_a_picture_is_told_beside_what_carried_the_verdict(
    encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = FakeReader(
        "halves",
        lambda parts: [[replace(Part.image(b"0.8"), region=(0.5, 0.0, 1.0, 0.25))] for _ in parts],
        reads=(Modality.IMAGE,),
        yields=(Modality.IMAGE,),
    )
    monkeypatch.setattr("moderation.assemble.plugins", lambda _settings: plugins_with(readers=(halves,)))
    monkeypatch.setenv("MODERATION_READERS__USE", '["halves"]')
    out = run("scan", pictures / "b.png", "--policy", weapons)[1]
    assert "weapons review 0.690 >= 0.500 (" in out
    assert ") at 50-100 % across, 0-25 % down\n" in out


def test_repeats_come_from_the_cache(encoder: FakeEncoder, weapons: Path, tmp_path: Path, run: Run) -> None:
    for number in range(40):  # more than a batch: what was encoded in the first is found by the second
        (tmp_path / f"{number:02}.png").write_text("0.25")
    _, out, _ = run("scan", tmp_path, "--policy", weapons)
    assert "40 items" in out
    assert "8 from the cache" in out
    assert encoder.encoded.count("0.25") == 1


def test_decisions_go_to_a_file_too(
    encoder: FakeEncoder, weapons: Path, pictures: Path, tmp_path: Path, run: Run
) -> None:
    target = tmp_path / "decisions.jsonl"
    _, out, _ = run("scan", pictures, "--policy", weapons, "--json", "--out", target)
    assert target.read_text() == out


def test_items_come_on_stdin(
    encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stdin:
        buffer = io.BytesIO(
            json.dumps({"id": "1", "path": str(pictures / "a.png")}).encode()
            + b'\nnonsense\n{"id": "2", "text": "x"}\n'
        )

    monkeypatch.setattr("sys.stdin", Stdin)
    code, out, _ = run("scan", "-", "--policy", weapons, "--json")
    found = [(one["item_id"], one["proposed"]) for one in map(json.loads, out.splitlines())]
    assert (code, found) == (ExitCode.OK, [("1", "remove"), ("stdin:2", "review"), ("2", "allow")])


def test_the_part_is_told_where_a_reader_derived_it(
    encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = {"id": "1", "parts": [{"path": str(pictures / "a.png"), "name": "clip#t=3.000"}]}
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(json.dumps(item).encode())))
    assert " at clip#t=3.000)\n" in run("scan", "-", "--policy", weapons)[1]
    assert " at " not in run("scan", pictures / "a.png", "--policy", weapons)[1]


def test_a_live_build_acts_and_a_draft_beside_it_only_proposes(
    encoder: FakeEncoder, weapons: Path, pictures: Path, tmp_path: Path, run: Run
) -> None:
    other = lock("blades", on_error="label", actions=(action("label", 0.01),))
    file = lock_path(tmp_path, "blades")
    write_lock(other, file)
    change = Change("live", other.revision, other.policy_hash, "2026-11-28T00:00:00+00:00", "team", "", {})
    record_path(file).write_text(encode_record(Record("blades", (change,))))
    _, out, _ = run("scan", pictures / "a.png", "--policy", weapons, "--policy", file, "--json")
    (found,) = decisions(out).values()
    assert [(one["policy"], one["status"], one["action"]) for one in found["verdicts"]] == [
        ("blades", "live", "label"),
        ("weapons", "draft", "remove"),
    ]
    assert (found["action"], found["proposed"]) == ("label", "remove")
    assert "not live" not in run("scan", pictures / "a.png", "--policy", file)[1]


def test_quiet_tells_the_summary_alone(
    encoder: FakeEncoder, weapons: Path, pictures: Path, tmp_path: Path, run: Run
) -> None:
    aloud = run("scan", pictures, "--policy", weapons)[1].splitlines()
    code, out, err = run("scan", pictures, "--policy", weapons, "--quiet", "--out", tmp_path / "out.jsonl")
    assert (code, err) == (ExitCode.OK, "")
    start = next(number for number, line in enumerate(aloud) if line.startswith("6 items in"))
    assert start == 4
    assert out.splitlines()[1:] == aloud[start + 1 :]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 6
    code, _, err = run("scan", pictures, "--policy", weapons, "--quiet", "--json")
    assert (code, "either --quiet or --json" in err) == (ExitCode.USAGE, True)


def test_an_id_forges_no_line(encoder: FakeEncoder, weapons: Path, tmp_path: Path, run: Run) -> None:
    forged = "x\nremove   good\tweapons match"
    lines = [{"id": forged, "text": "a"}, {"id": forged, "path": "gone.png"}, {"id": forged, "path": "a.png"}]
    (tmp_path / "a.png").write_text("1.0")
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    code, out, err = run("scan", tmp_path / "items.jsonl", "--policy", weapons)
    assert code == ExitCode.OK
    assert not [line for line in (out + err).splitlines() if line.startswith("remove   good")]
    assert "\t" not in out + err
    escaped = "x\\u000aremove   good\\u0009weapons match"
    assert out.count(escaped) == 3  # two decisions, and the summary's example
    assert err.startswith(f"{escaped}: ")


def test_several_policies_decide_together(
    encoder: FakeEncoder, weapons: Path, pictures: Path, tmp_path: Path, run: Run
) -> None:
    other = lock_path(tmp_path, "blades")
    write_lock(lock("blades", on_error="label", actions=(action("label", 0.01),)), other)
    _, out, _ = run("scan", pictures, "--policy", weapons, "--policy", other, "--json")
    found = decisions(out)
    assert [verdict["policy"] for verdict in found["a.png"]["verdicts"]] == ["blades", "weapons"]
    assert (found["a.png"]["proposed"], found["b.png"]["proposed"], found["huge.png"]["proposed"]) == (
        "remove",
        "label",
        "review",
    )


def test_an_uncertified_policy_decides_nothing(encoder: FakeEncoder, tmp_path: Path, pictures: Path, run: Run) -> None:
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(actions=(action("remove", None),)), path)
    code, out, err = run("scan", pictures / "a.png", "--policy", path, "--json")
    assert f"policy 'weapons': {UNCERTIFIED}" in err
    (found,) = map(json.loads, out.splitlines())
    assert (code, found["verdicts"][0]["error"], found["proposed"]) == (ExitCode.OK, "uncertified", "review")


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_input_without_an_item_is_an_error_before_an_encoder_is_loaded(
    content: str, weapons: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("moderation.assemble.encoder")
    (tmp_path / "nothing.jsonl").write_text(content)
    for command in (("scan", "--policy", weapons), ("search", "words"), ("classify", "--text", "words")):
        code, out, err = run(*command, tmp_path / "nothing.jsonl")
        assert (code, out) == (ExitCode.DATA, "")
        assert "nothing.jsonl: D000: no item in it; expected one JSON object a line\n" in err


def test_a_pipe_that_brings_no_item_is_an_error_and_its_decisions_are_no_file(
    encoder: FakeEncoder, weapons: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    code, out, err = run("scan", "-", "--policy", weapons, "--out", tmp_path / "decisions.jsonl")
    assert (code, out) == (ExitCode.DATA, "")
    assert "stdin: D000: no item in it" in err
    assert not (tmp_path / "decisions.jsonl").exists()


def test_a_rate_is_told_of_many_items_and_counts_no_time_before_the_first(
    encoder: FakeEncoder, weapons: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scanned(items: int) -> str:
        (tmp_path / "items.jsonl").write_text('{"text": "x"}\n' * items)
        return run("scan", tmp_path / "items.jsonl", "--policy", weapons, "--quiet")[1].splitlines()[0]

    assert re.fullmatch(r"99 items in \d+\.\d s, 0 from the cache", scanned(99))
    assert re.fullmatch(r"100 items in \d+\.\d s \(\d+\.\d items/s\), 0 from the cache", scanned(100))
    done: list[str] = []
    load = assemble.pipeline
    monkeypatch.setattr(
        assemble, "pipeline", lambda *given, **options: (done.append("loaded"), load(*given, **options))[1]
    )
    monkeypatch.setattr(summary, "Summary", lambda *given: (done.append("counting"), Summary(*given))[1])
    scanned(1)
    assert done == ["loaded", "counting"]


def test_that_a_policy_is_uncertified_is_told_once_with_what_mends_it_and_not_for_each_item(
    encoder: FakeEncoder, weapons: Path, tmp_path: Path, pictures: Path, run: Run
) -> None:
    other = lock_path(tmp_path, "blades")
    write_lock(lock("blades", actions=(action("remove", None),)), other)
    _, out, err = run("scan", pictures, "--policy", other)
    assert err.splitlines()[0] == (
        f"policy 'blades': {UNCERTIFIED}; run: moderation policy certify blades.yaml --out {tmp_path}"
    )
    assert err.count("certify") == 1
    (tmp_path / "blades.yaml").touch()  # which is then meant
    beside = run("scan", pictures, "--policy", other)[2].splitlines()[0]
    assert beside.endswith(f"; run: moderation policy certify {tmp_path / 'blades.yaml'}")
    assert out.startswith("6 items in ")  # at once the summary
    assert "\n  blades  uncertified             5\n" in out
    _, out, _ = run("scan", pictures, "--policy", other, "--policy", weapons)
    named = [line for line in out.splitlines() if line.startswith(("remove ", "review "))]
    assert [Path(line.split()[1]).name for line in named] == ["a.png", "c.png", "d.png", "huge.png"]


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    ("path", "policy", "code", "message"),
    [
        ("gone", "build/weapons.lock.json", ExitCode.DATA, "no such file or folder"),
        ("empty", "build/weapons.lock.json", ExitCode.DATA, "nothing to judge"),
        ("pictures", "gone.lock.json", ExitCode.ENCODER, "gone.lock.json: cannot be read"),
        ("pictures", "build/weapons.lock.safetensors", ExitCode.ENCODER, "name the first, weapons.lock.json"),
        ("pictures", "broken.lock.json", ExitCode.ENCODER, "broken.lock.json"),
        ("pictures", "foreign.lock.json", ExitCode.ENCODER, "built for encoder ffff"),
    ],
)
def test_a_run_that_cannot_start_says_why(
    weapons: Path, pictures: Path, run: Run, *, path: str, policy: str, code: int, message: str
) -> None:
    folder = pictures.parent
    (folder / "empty").mkdir()
    (folder / "broken.lock.json").write_text("{")
    write_lock(lock("foreign", encoder_identity="f" * 16), lock_path(folder, "foreign"))
    found, out, err = run("scan", folder / path, "--policy", folder / policy)
    assert (found, out) == (code, "")
    assert message in err


def test_a_bar_on_the_terminal_leaves_the_result_alone(
    encoder: FakeEncoder, weapons: Path, pictures: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Results piped away while a terminal watches stderr: rich would send both to the terminal if it were let.
    expected = decisions(run("scan", pictures, "--policy", weapons, "--json")[1])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    _, out, err = run("scan", pictures, "--policy", weapons, "--json")
    assert list(decisions(out)) == list(expected)
    assert "deciding" in err


def test_ray_and_its_folder_go_together_and_ray_must_be_there(
    weapons: Path, pictures: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for half in (("--ray", "local"), ("--keep", tmp_path / "k")):
        code, _, err = run("scan", pictures, "--policy", weapons, *half)
        assert (code, "--ray and --keep FOLDER together" in err) == (ExitCode.USAGE, True)
    asked = ("scan", "-", "--policy", weapons, "--ray", "local", "--keep", tmp_path / "k")
    code, _, err = run(*asked)
    assert (code, "cannot be divided among workers" in err) == (ExitCode.DATA, True)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    code, _, err = run(*asked)
    assert (code, 'pip install "moderation[ray]"' in err) == (ExitCode.USAGE, True)
