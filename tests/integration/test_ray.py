"""A local Ray of two workers, really: a scan's decisions to the last bit, one row an item whatever dies, and the app for the official client."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pytest

from moderation import assemble
from moderation.embedding.cache import MemoryCache
from moderation.embedding.embedder import Embedder
from moderation.errors import ExitCode
from moderation.history.log import read_decisions
from moderation.item import Part
from moderation.policy.lock import lock_path, write_lock
from moderation.scaleout.decider import Order
from moderation.settings import Settings
from tests.conftest import ROOT
from tests.fakes import FakeEncoder, item, lock
from tests.unit.cli.conftest import Run, run

__all__ = ["run"]

# Ray warns of settings of its own that it copies.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:ray", "ignore::DeprecationWarning:moderation.scaleout"
)
KEY = "mod-key-of-the-shop"
SECRET = "words-that-nobody-may-repeat"
# An encoder in the workers' processes that takes its time, and ends its process over some texts: once, or each time.
SCRIPTED = """
import os, signal, time
from pathlib import Path
from tests.fakes import FakeEncoder
from moderation.plugin.hookspecs import hookimpl

class Scripted(FakeEncoder):
    def encode_text(self, texts):
        time.sleep(0.05)
        for text in texts:
            what, _, marker = text.partition(" ")
            if what == "dies" or (what == "dies-once" and not Path(marker).exists()):
                Path(marker or os.devnull).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "raises":
                raise ValueError(text)
        return super().encode_text(texts)

@hookimpl
def register_encoders(registry):
    registry.add("scripted", lambda request: Scripted())
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray of two cores whose workers know the scripted encoder."""
    folder = tmp_path_factory.mktemp("plugin")
    info = folder / "scripted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scripted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[moderation]\nscripted = scripted_encoder\n")
    (folder / "scripted_encoder.py").write_text(SCRIPTED)
    import ray

    from moderation.scaleout.cluster import _silent

    with pytest.MonkeyPatch.context() as patch, _silent():  # as a cluster that a scan connects to by itself
        patch.syspath_prepend(str(folder))
        # By itself it gives way to all else on a machine, such as other tests, until its own bounds of time run out.
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(num_cpus=2, object_store_memory=200_000_000, **quiet)
        try:
            yield ray.get_runtime_context().gcs_address
        finally:
            ray.shutdown()


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock on the scripted encoder, which the settings name."""
    monkeypatch.setenv("MODERATION_ENCODERS__DEFAULT__LOADER", "scripted")
    path = lock_path(tmp_path, "weapons")
    write_lock(lock(modalities=("image", "text")), path)
    return path


def lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    return path


def told(out: str) -> list[dict[str, Any]]:
    """Decisions without what differs from run to run."""
    return [{**json.loads(line), "timing": None} for line in out.splitlines()]


def on(address: str, folder: Path) -> tuple[Any, ...]:
    return "--ray", address, "--ray-cores", 1, "--keep", folder / "k"


def kept(folder: Path) -> Counter[str]:
    """How many rows each item has in a run's files."""
    return Counter(decision.item_id for file in folder.glob("*.parquet") for decision, _ in read_decisions(file))


def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_decisions_are_a_scans_to_the_last_bit(address: str, run: Run, tmp_path: Path) -> None:
    """Shipped pictures, one of them twice, files that are no pictures, and rows of a table, by the shipped encoder.

    (Content that stands in two batches is encoded once by a scan, and once by each worker: then batches differ, and with them the last bits.)
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = sorted((ROOT / "policies" / "pictures").rglob("*.webp"))[:40]
    rows = [{"id": str(n), "path": str(path)} for n, path in enumerate([pictures[0], *pictures[:28]])]
    rows += [{"id": "gone", "path": "gone.png"}, {"id": "none"}, {"id": "bad", "path": str(tmp_path / "bad.png")}]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    contents = [*(path.read_bytes() for path in pictures[28:]), b"no picture", None]
    held = pa.table({"image": pa.array(contents, pa.binary()), "label": [0] * len(contents)})
    pq.write_table(held, tmp_path / "t.parquet")
    files = (tmp_path / "items.jsonl", tmp_path / "t.parquet")
    asked = ("scan", *files, "--policy", ROOT / "policies/weapons.lock.json", "--json")
    here = run(*asked)
    there = run(*asked, *on(address, tmp_path))
    assert (here[0], there[0]) == (ExitCode.OK, ExitCode.OK)
    assert told(there[1]) == told(here[1])
    assert len(told(there[1])) == len(rows) + len(contents)
    assert there[2].splitlines()[1:] == [line for line in here[2].splitlines() if ": un" not in line][1:]
    assert len(list((tmp_path / "k").glob("*.parquet"))) == 2


def test_a_worker_that_is_killed_costs_no_row_and_gives_none_twice(
    address: str, run: Run, scripted: Path, tmp_path: Path
) -> None:
    texts = [f"{n / 320:.5f}" for n in range(320)]
    texts[7], texts[8] = f"raises {SECRET}", f"0.5 {SECRET}"
    texts[100] = f"dies-once {tmp_path / 'died'}"
    items = lines(tmp_path / "items.jsonl", texts)
    code, out, err = run("scan", items, "--policy", scripted, "--json", *on(address, tmp_path))
    assert (code, (tmp_path / "died").exists()) == (ExitCode.OK, True)
    assert told(out)[7]["verdicts"][0]["error"] == "encoder_error"
    assert [one["item_id"] for one in told(out)] == [str(n) for n in range(320)]
    assert kept(tmp_path / "k") == Counter(map(str, range(320)))
    assert not (tmp_path / "k" / ".work").exists()
    assert [one for one in [out, err, *logs()] if SECRET in one] == []


def test_a_run_that_is_killed_goes_on_with_what_is_missing(
    address: str, run: Run, scripted: Path, tmp_path: Path
) -> None:
    items = lines(tmp_path / "items.jsonl", [f"{n / 2048:.5f}" for n in range(32 * 64)])
    asked = list(map(str, ("scan", items, "--policy", scripted, "--quiet", *on(address, tmp_path))))
    driver = subprocess.Popen([sys.executable, "-m", "moderation", *asked], cwd=tmp_path, start_new_session=True)
    until(lambda: len(list((tmp_path / "k").glob("*.parquet"))) >= 2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(1)  # what a worker had in hand may still take its place
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "k").glob("*.parquet")}
    assert 2 <= len(before) < 64
    code, out, err = run(*asked[:4], "--json", *asked[5:])
    assert (code, f"{len(before)} of 64 parts are there already" in err) == (ExitCode.OK, True)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert kept(tmp_path / "k") == Counter(map(str, range(32 * 64)))
    assert told(out) == told(run(*asked[:4], "--json")[1])
    assert run(*asked)[0] == ExitCode.OK  # all is there: nothing is asked of the cluster
    items.write_text(items.read_text() + '{"id": "new", "text": "0.5"}\n')
    code, _, err = run(*asked)
    assert (code, "begun with something else (items, portions, input)" in err) == (ExitCode.DATA, True)


def test_an_entry_that_kills_every_worker_is_an_error_of_its_own(
    address: str, run: Run, scripted: Path, tmp_path: Path
) -> None:
    texts = [f"{n / 128:.5f}" for n in range(128)]
    texts[40] = texts[50] = "dies"
    items = lines(tmp_path / "items.jsonl", texts)
    code, out, _ = run("scan", items, "--policy", scripted, "--json", *on(address, tmp_path))
    assert (code, [one["item_id"] for one in told(out)]) == (ExitCode.OK, [str(n) for n in range(128)])
    errors = [
        (one["item_id"], *map(one["verdicts"][0].get, ("error", "cause")))
        for one in told(out)
        if one["verdicts"][0]["error"]
    ]
    assert errors == [("40", "crash", "killed"), ("50", "crash", "killed")]
    assert kept(tmp_path / "k") == Counter(map(str, range(128)))


def test_what_kills_every_worker_is_named_and_all_else_is_decided(
    address: str, run: Run, scripted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moderation.scaleout.scan.Order", partial(Order, attempts=1))
    texts = ["0.5"] * 128
    texts[40] = "dies"
    items = lines(tmp_path / "items.jsonl", texts)
    code, _, err = run("scan", items, "--policy", scripted, *on(address, tmp_path))
    assert code == ExitCode.UNAVAILABLE
    assert "of 1 of 4 portions every worker died, such as of portion 1, from line 33 of" in err
    assert kept(tmp_path / "k") == Counter(str(n) for n in range(128) if n // 32 != 1)


@pytest.fixture
def served(address: str, tmp_path: Path) -> Iterator[str]:
    """The app on Serve: one replica, and another where the load asks for it."""
    from ray import serve

    from moderation.scaleout.serving import application

    folder = tmp_path / "served"
    folder.mkdir()
    write_lock(lock(modalities=("image", "text")), folder / "weapons.lock.json")
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    (folder / "serve.toml").write_text(
        f"""
        [encoders.default]
        loader = "scripted"
        [serve]
        locks = ["weapons.lock.json"]
        [serve.keys.shop]
        sha256 = "{digest}"
        """
    )
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
    quick = {"upscale_delay_s": 0.1, "metrics_interval_s": 0.1, "look_back_period_s": 0.5}
    serve.run(application(folder / "serve.toml", least=1, most=2, cores=1, **quick))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310
        return str(answer.read().decode())


def answered(served: str) -> dict[str, float]:
    """By replica, the moderations that it answered."""
    found = re.findall(
        r'moderation_requests_total{.*replica="(.*?)".*route="/v1/moderations".*} (.*)', get(f"{served}/metrics")
    )
    return {replica: float(count) for replica, count in found}


def test_the_official_client_asks_replicas_that_come_with_the_load(served: str, scripted: Path) -> None:
    known = {"default": Embedder(FakeEncoder(), MemoryCache(10**6))}
    (expected,) = assemble.pipeline(Settings(), [scripted], embedders=known).decide([item(Part.text("0.7"))])
    with openai.OpenAI(api_key=KEY, base_url=f"{served}/v1", max_retries=0) as client:
        scores = client.moderations.create(input="0.7").results[0].category_scores.model_extra
        assert scores == {"weapons": expected.verdicts[0].score}
        assert len(client.embeddings.create(input=["0.1", "0.2"], model="default").data) == 2
        raw = client.moderations.with_raw_response.create(input="0.7", extra_headers={"x-request-id": "mine"})
        assert raw.headers.get_list("x-request-id") == ["mine"]
        asked, refused = itertools.count(), list[openai.APIStatusError]()

        def ask(_: int) -> int:
            text = [f"{next(asked)} of {place} {SECRET}" for place in range(32)]
            try:
                return client.moderations.with_raw_response.create(input=text).status_code
            except openai.APIStatusError as error:
                refused.append(error)
                return error.status_code

        with ThreadPoolExecutor(64) as pool:
            statuses = Counter(pool.map(ask, range(64)))
            # The load that asks for a replica also holds it up: it imports torch on what is left of the processors.
            until(lambda: statuses.update(pool.map(ask, range(64))) or len(answered(served)) == 2, seconds=180)
    assert set(statuses) <= {200, 429}, [
        (one.status_code, one.response.text[:300]) for one in refused if one.status_code != 429
    ][:3]
    assert all(one.response.headers.get("retry-after-ms", "").isdigit() for one in refused)
    with (
        openai.OpenAI(api_key="wrong", base_url=f"{served}/v1", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.moderations.create(input="0.7")
    assert [one for one in logs() if SECRET in one] == []


def test_the_example_counts_what_would_be_asked_for(
    address: str, scripted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    items = lines(tmp_path / "items.jsonl", ["0.9", "0.1"] * 20)
    monkeypatch.setattr("sys.argv", ["scan.py", address, str(tmp_path / "k"), str(scripted), str(items)])
    for there in (0, 2):
        runpy.run_path(str(ROOT / "examples" / "ray" / "scan.py"), run_name="__main__")
        told = f"{there} of 2 parts are there already\n    20  review\n    20  allow\n"
        assert capsys.readouterr().out == told


def logs() -> list[str]:
    """Everything that Ray wrote of this session."""
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[attr-defined]
    files = [file for file in (session / "logs").rglob("*") if file.is_file()]
    assert files
    return [file.read_text(errors="replace") for file in files]
