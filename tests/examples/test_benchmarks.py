"""Every script in benchmarks/ runs at a tiny size and reports what the README quotes; no time is asserted."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.loops.field import Answer
from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
TINY = {
    "decide.py": ["--rows", "300", "--repeats", "1"],
    "startup.py": ["--rounds", "1"],
    "buckets.py": ["--pictures", "24", "--texts", "24"],
    "epsilon.py": ["--every", "200"],
    "loss.py": ["--rows", "96", "--width", "8", "--plain-up-to", "0", "--rounds", "1"],
    "train.py": ["--model", "tiny", "--batch", "4", "--steps", "2", "--captions", "web", "--peak-of"],
    "noise.py": ["--steps", "6", "--batch", "8", "--measurements", "2"],
    "audit.py": ["--items", "400"],
    "backtest.py": ["--rows", "2000"],
    "false_alarms.py": ["--runs", "2"],
    "violations.py": ["--runs", "10", "--policies", "fire", "--most", "60"],
    "ladder.py": [
        "--policies",
        str(ROOT / "policies" / "fire.yaml"),
        "--splits",
        "2",
        "--most",
        "20",
        "--exemplars",
        "2",
    ],
    "metering.py": ["--rounds", "2"],
    "plugins.py": ["--rounds", "1"],
    "chaos.py": ["--faults", "2", "--records", "300", "--loops", "ours", "at_least_once"],
    "recovery.py": ["--rounds", "1"],
    "stream.py": ["--rounds", "1", "--texts", "6000", "--pictures", "8"],
    "serve.py": ["--seconds", "0.2", "--requests", "200"],
    "pieces.py": ["--rounds", "1", "--sizes", "1", "--busy", "0", "--threads", "1"],
    "search.py": ["--rows", "3000", "--queries", "3"],
    # The environments of the others are made by `make bench`.
    "serve_peers.py": ["--rounds", "1", "--seconds", "0.3", "--only", "ours"],
    "hashes.py": ["--hashes", "3000", "--queries", "20"],
    "lists.py": ["--sizes", "50", "--texts", "25"],
    "ocr.py": ["--rounds", "1", "--pictures", "1", "--ways", "2", "--drawings", "2", "--largest", "320"],
    "video.py": ["--seconds", "2", "--rounds", "1", "--sizes", "480p"],
    "few_shot.py": ["--shots", "32", "--draws", "1", "--steps", "2", "--most", "60"],
}
KEYS = {
    "decide.py": {
        "rows", "width", "policies", "phrases", "cuts", "cores", "load", "row_by_row_rows",
        "decide_wall_seconds", "rate_of_numpy_convert_and_multiply_wall",
        "rate_of_fast_convert_and_multiply_wall", "row_by_row_wall_seconds_extrapolated", "times_row_by_row_wall",
    },
    "startup.py": {"rounds", "median_ms", "ratios"},
    "buckets.py": {
        "pictures", "sizes", "level", "vectors_that_differ", "largest_difference_of_a_number", "scores_that_differ",
        "largest_difference_of_a_score", "rows",
    },
    "epsilon.py": {"rows"},
    "loss.py": {"width", "clock", "aim", "sizes"},
    "train.py": {"model", "batch", "precision", "device", "runs", "peak_mb"},
    "noise.py": {"pairs", "start", "steps", "batch", "seed", "runs"},
    "audit.py": {"items", "test_seconds", "audit_seconds", "parts", "outside"},
    "backtest.py": {"rows", "width", "cores", "load", "vectors", "scores"},
    "false_alarms.py": {"runs", "false_alarms", "power"},
    "violations.py": {"runs", "confidence", "rows"},
    "ladder.py": {"splits", "policies"},
    "metering.py": {"records", "bare_us", "metered_us", "more_us"},
    "plugins.py": {"microseconds_a_part", "start_seconds", "megabytes", "seconds_beside_one_that_hangs", "megabytes_by_sharing"},
    "chaos.py": {"seed", "records", "faults", "seconds", "rows"},
    "recovery.py": {"session_seconds", "rounds", "seconds", "median"},
    "stream.py": {"load_before", "peers", "rates", "spread", "ratios"},
    "serve.py": {
        "added_alone_http_vectors_ms", "share_of_device_64_clients_decisions", "overload_in_time_of_capacity", "calm_after_answered",
        "small_key_p99_ratio", "cancels_batches_begun_for_nobody", "cancels_hung", "memory_growth",
    },
    "pieces.py": {"threads", "load_before", "beside 0"},
    "search.py": {"rows", "width", "top", "load_before", "engines", "files"},
    "serve_peers.py": {"load_before", "versions", "absent", "servers", "each_round"},
    "hashes.py": {"hashes", "load_before", "engines", "hash_ms"},
    "lists.py": {"load_before", "characters", "rows", "words", "found", "other_words_found"},
    "ocr.py": {
        "load_before", "ready_seconds", "pictures_a_processor_second", "words_read", "drawings", "drawings_with_text",
    },
    "video.py": {"seconds", "rates", "start_ms"},
    "few_shot.py": {"policy", "measured_on", "violating_objects", "draws", "steps", "rows"},
}  # fmt: skip

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
(OF_A_SCORE,) = map(float, re.findall(r"\(a test allows (\S+)\)", ARCHITECTURE))
# What the pages say of them, at most.
BOUNDS = {
    "buckets.py": {"largest_difference_of_a_number": 2.5e-4, "largest_difference_of_a_score": min(2e-4, OF_A_SCORE)}
}


def test_none_is_forgotten() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == {
        *TINY,
        "encode.py",
        "encode_peers.py",
        "onnx_runtime.py",
        "regions.py",
    }  # the last takes minutes however small


MARKS = {
    "train.py": [pytest.mark.needs_open_clip],
    "chaos.py": [pytest.mark.needs_own_kafka, pytest.mark.soak],
    "recovery.py": [pytest.mark.needs_own_kafka, pytest.mark.soak],
    "stream.py": [pytest.mark.needs_kafka, pytest.mark.needs_redis, pytest.mark.soak],
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, [])) for name in TINY])
def test_it_reports_what_it_says(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    if name in MARKS:  # a process of its own: clients whose brokers are killed leave sockets behind
        command = [sys.executable, str(FOLDER / name), *TINY[name], "--json"]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    else:
        monkeypatch.setattr("sys.argv", [name, *TINY[name], "--json"])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        told = capsys.readouterr().out
    found = json.loads(told)
    assert found.keys() >= KEYS[name]
    assert all(found[key] <= bound for key, bound in BOUNDS.get(name, {}).items())


def test_deciding_is_timed_on_numbers_that_were_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last block is not full; what fresh memory holds behind it is another thing in every run of the tests."""
    fresh = np.empty

    def rubbish(*shape: Any, **options: Any) -> np.ndarray:
        made = fresh(*shape, **options)
        if made.dtype.kind == "f":
            made.fill(np.inf)
        return made

    monkeypatch.setattr(np, "empty", rubbish)
    monkeypatch.setattr("sys.argv", ["decide.py", *TINY["decide.py"], "--json"])
    runpy.run_path(str(FOLDER / "decide.py"), run_name="__main__")
    assert json.loads(capsys.readouterr().out)


@pytest.mark.needs_open_clip
def test_encoding_reports_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    main = runpy.run_path(str(FOLDER / "encode.py"), run_name="encode")["main"]
    # One layer, and no work worth a rate: 20 seconds less.
    tiny = {"LAYERS": 1, "BATCH": 2, "PRODUCTS": {"square": (8, 8, 8)}}
    for name, value in tiny.items():
        monkeypatch.setitem(main.__globals__, name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["encode.py", "--rounds", "1", "--images", "3", "--dtype", "float32", "--json"])
    main()
    found = json.loads(capsys.readouterr().out)["float32"]
    assert found["share_of_matrix_rate"].keys() >= {"matrix_gflops", "ours", "transformers", "spread"}
    peers = {"open_clip", "transformers_pipeline"}
    assert found["from_jpeg"].keys() >= {"images_per_second", "largest_difference_from", "seconds_over_ours"}
    assert (
        found["from_jpeg"]["seconds_over_ours"].keys() == found["from_jpeg"]["largest_difference_from"].keys() == peers
    )


def test_encoding_beside_peers_reports_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.encode.LAYERS", 1)
    monkeypatch.setattr(
        "sys.argv", ["encode_peers.py", "--rounds", "1", "--seconds", "0", "--only", "ours", "tower", "--json"]
    )
    runpy.run_path(str(FOLDER / "encode_peers.py"), run_name="__main__")
    found = json.loads(capsys.readouterr().out)
    assert found["best"].keys() == {"ours", "tower"}
    assert found["largest_difference"] == {"ours": 0.0}


def test_a_peer_has_its_best_number_of_threads() -> None:
    best = runpy.run_path(str(FOLDER / "encode_peers.py"), run_name="encode_peers")["best"]
    found = best({"1": {"a": [1.0, 5.0, 2.0], "b": [9.0]}, "2": {"a": [3.0, 1.0, 4.0], "b": [8.0]}})
    assert found == {"a": {"rate": 3.0, "threads": 2}, "b": {"rate": 9.0, "threads": 1}}


def test_encoding_compares_the_vectors_of_both_peers_and_stops_beyond_the_bound() -> None:
    compare = runpy.run_path(str(FOLDER / "encode.py"), run_name="encode")["compare"]
    ours = np.eye(3, dtype=np.float16)
    near, far = torch.eye(3) + 1e-4, torch.eye(3) + 1e-2
    assert compare(ours, {"one": near, "other": near}, 1e-3).keys() == {"one", "other"}
    for other in (far, torch.full((3, 3), torch.nan)):
        with pytest.raises(SystemExit, match="differ from other's"):
            compare(ours, {"one": near, "other": other}, 1e-3)


def test_deciding_stops_where_it_is_not_the_rule_of_the_package() -> None:
    decide = runpy.run_path(str(FOLDER / "decide.py"), run_name="decide")
    rng = np.random.default_rng(0)
    heads = [decide["make_head"](rng, *counts) for counts in decide["PHRASES"]]
    vectors = decide["unit"](rng, 200).astype(np.float16)
    policies = decide["make_cuts"](heads, vectors)
    decide["check"](heads, policies, vectors)
    assert len(set(decide["actions_of"](decide["score_many"](heads, vectors), policies))) > 2
    decide["check"].__globals__["actions_of"] = lambda scored, _: np.zeros(len(scored[0].values), np.int8)
    with pytest.raises(SystemExit, match="the action is allow"):
        decide["check"](heads, policies, vectors)


@pytest.mark.parametrize("name", ["plain", "chunked"])
def test_a_loss_is_measured_and_one_that_is_not_the_plain_one_stops(name: str) -> None:
    loss = runpy.run_path(str(FOLDER / "loss.py"), run_name="loss")
    found = loss["one_case"](name, 32, 8, "wall")
    assert found["peak_mb"] >= 0
    loss["compare"]({"plain": found, "other": dict(found, seconds=0.0)})
    for key in ("loss", "gradient_2"):
        with pytest.raises(SystemExit, match=f"{key} of other is"):
            loss["compare"]({"plain": found, "other": dict(found, **{key: float("nan")})})


def test_the_naive_pick_breaks_its_promise_about_half_the_time_and_ours_as_rarely_as_it_says() -> None:
    violations = runpy.run_path(str(FOLDER / "violations.py"), run_name="violations")
    naive, ours = violations["measure"](violations["simulated"](200, 1_800, 0.1, 0.9), 100)
    assert naive.violated_low > 1.0 - violations["CONFIDENCE"]
    assert ours.violated_low <= 1.0 - violations["CONFIDENCE"]
    assert ours.found > 0.6


@pytest.mark.soak
def test_on_scores_of_shipped_targets_too_the_naive_pick_breaks_its_promise_and_ours_keeps_it() -> None:
    violations = runpy.run_path(str(FOLDER / "violations.py"), run_name="violations")
    naive, ours = violations["measure"](violations["resampled"](ROOT / "policies" / "weapons.yaml", 0), 200)
    assert naive.violated_low > 0.3
    assert ours.violated_low <= 1.0 - violations["CONFIDENCE"]
    assert ours.found > 0.5


def test_the_same_seed_strikes_at_the_same_moments_and_every_record_is_counted() -> None:
    chaos = runpy.run_path(str(FOLDER / "chaos.py"), run_name="chaos")
    assert chaos["schedule"](40, 1) == chaos["schedule"](40, 1) != chaos["schedule"](40, 2)
    assert {fault.kind for fault in chaos["schedule"](100, 1)} == set(chaos["KINDS"])
    answers = [Answer(0, 0, 1.0), Answer(0, 1, 2.0), Answer(0, 1, 3.0), Answer(1, 0, 3.0)]
    assert chaos["counted"](5, answers) == (2, 1)


def test_a_ratio_is_that_of_one_round() -> None:
    ratios = runpy.run_path(str(FOLDER / "stream.py"), run_name="stream")["ratios"]
    assert ratios({"cold": [1.0, 10.0, 30.0], "ceiling": [2.0, 10.0, 40.0]}) == {"cold_of_ceiling": 0.75}
