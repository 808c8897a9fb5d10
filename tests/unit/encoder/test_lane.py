"""Lanes: pieces of a batch side by side on a CPU; on a GPU, which a stand-in is here, the order of copies, towers and replays, and the way back to eager."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from moderation.encoder import lane
from moderation.encoder.checkpoint import _is_small, load
from moderation.encoder.clip import TorchEncoder
from moderation.encoder.lane import GPU_BUCKETS, PIECE, CpuLane, CudaLane, lane_on
from moderation.encoder.tokens import BATCH_BUCKETS
from moderation.encoder.weights import Weights
from tests.unit.encoder import checkpoints
from tests.unit.encoder.pictures import jpeg

CPU = torch.device("cpu")


class Gpu:
    """Stands in for torch.cuda on the CPU: `told` is what it was asked, in order; a graph records what runs and runs it again."""

    def __init__(self, patch: pytest.MonkeyPatch, *, refuses: bool = False, wrong: bool = False) -> None:
        self.told: list[str] = []
        self.refuses, self.wrong, self.now = refuses, wrong, "nothing"
        self.recording: Any = None
        self.names = iter(("copying", "computing") * 2)
        self.inside = self.most = 0  # recordings at once
        of_cuda = {"Stream": self.new_stream, "Event": self.new_event, "CUDAGraph": self.new_graph, "graph": self.graph}
        of_cuda |= {"stream": self.stream, "device": self.device, "graph_pool_handle": lambda: "pool"}
        of_cuda["current_stream"] = lambda _: SimpleNamespace(name="loading")
        for name, value in of_cuda.items():
            patch.setattr(torch.cuda, name, value)
        made = torch.empty
        patch.setattr(torch, "empty", lambda shape, *, dtype, pin_memory: made(shape, dtype=dtype))
        patch.setattr(torch.Tensor, "pin_memory", lambda one: (self.told.append("pin"), one)[1])
        patch.setattr(torch.Tensor, "record_stream", lambda _, stream: self.told.append(f"kept for {stream.name}"))

    def new_stream(self, _: Any) -> Any:
        name = next(self.names)
        return SimpleNamespace(name=name, wait_stream=lambda other: self.told.append(f"{name} waits for {other.name}"))

    def new_event(self) -> Any:
        return SimpleNamespace(
            record=lambda stream: self.told.append(f"event on {stream.name}"),
            synchronize=lambda: self.told.append("waited"),
        )

    def new_graph(self) -> Any:
        made = SimpleNamespace(again=None)
        made.replay = lambda: (self.told.append("replay"), made.again())
        return made

    @contextmanager
    def stream(self, one: Any) -> Iterator[None]:
        before, self.now = self.now, one.name
        yield
        self.now = before

    @contextmanager
    def device(self, _: Any) -> Iterator[None]:
        yield

    @contextmanager
    def graph(self, one: Any, *, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        assert (pool, stream.name, capture_error_mode) == ("pool", "computing", "thread_local")
        self.told.append("record")
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.recording = one
        yield
        self.recording = None
        self.inside -= 1

    def doubled(self, batch: torch.Tensor) -> torch.Tensor:
        """What runs on it; while it is recorded, a graph learns to do it again on the same tensors."""
        self.told.append(f"run on {self.now}")
        made = batch * 2
        if self.recording is not None:
            wrong = self.wrong
            self.recording.again = lambda: made.copy_(batch * (3 if wrong else 2))
        return made


def halves(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float16)


def test_a_batch_of_fewer_rows_than_threads_runs_whole_on_all_of_them_and_beside_no_other() -> None:
    inside, most, seen = 0, 0, set[tuple[int, int]]()
    counting = threading.Lock()

    def run(batch: torch.Tensor) -> torch.Tensor:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside * len(batch))
        seen.add((len(batch), torch.get_num_threads()))
        threading.Event().wait(0.03)
        with counting:
            inside -= 1
        return batch + 1

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one = CpuLane()
        ran = [one.submit(run, halves(*range(4))), one.submit(run, halves(1)), one.submit(run, halves(7))]
    finally:
        torch.set_num_threads(before)
    assert [wait().tolist() for wait in ran] == [[1, 2, 3, 4], [2], [8]]
    assert (seen, most) == ({(2, 1), (1, 2)}, 4)  # two rows on one thread each; and a lone one on two


def test_what_runs_whole_waits_for_a_piece_of_any_batch_before_it() -> None:
    ended: list[float] = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        threading.Event().wait(0.3 if batch[0] == 0 else 0)
        ended.append(float(batch[0]))
        return batch

    one = CpuLane(threads=2)
    for batch in (halves(0, 1), halves(2, 3), halves(9)):
        one.submit(run, batch)
    one._pool.shutdown()
    assert ended[-2:] == [0, 9]


@pytest.mark.parametrize(
    ("threads", "rows", "pieces"), [(1, 32, [32]), (2, 8, [4, 4]), (4, 32, [8] * 4), (6, 8, [2] * 4), (16, 8, [8])]
)
def test_all_pieces_of_a_batch_are_alike_since_their_size_moves_last_bits(
    threads: int, rows: int, pieces: list[int]
) -> None:
    sizes: list[int] = []

    def run(batch: torch.Tensor) -> torch.Tensor:
        sizes.append(len(batch))
        return batch

    one = CpuLane(threads=threads)
    one.submit(run, torch.zeros(rows))()
    one._pool.shutdown()  # a thread that begins late would set back what the next test sets
    assert sizes == pieces


def test_a_rows_bits_hang_on_no_place_in_its_batch() -> None:
    weights, rows = torch.randn(2, 96, 96), torch.randn(16, 96)
    one, order = CpuLane(threads=4), torch.randperm(16)

    def run(batch: torch.Tensor) -> torch.Tensor:
        return torch.relu(batch @ weights[0]) @ weights[1]

    assert one.submit(run, rows[order])().tobytes() == one.submit(run, rows)()[order].tobytes()
    one._pool.shutdown()


def test_a_cpu_runs_every_usual_size() -> None:
    assert lane_on(CPU).buckets == lane_on(CPU, small=True).buckets == BATCH_BUCKETS


def test_pieces_of_a_batch_run_side_by_side_each_on_one_thread_and_come_back_in_order() -> None:
    both, threads, names = threading.Barrier(2), set(), set()

    def doubled(rows: torch.Tensor) -> torch.Tensor:
        both.wait(10)  # nobody passes alone
        threads.add(torch.get_num_threads())
        names.add(threading.get_ident())
        return rows * 2

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = CpuLane(PIECE, threads=2).submit(doubled, torch.arange(2 * PIECE))()
        later: list[int] = []
        new = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert (torch.get_num_threads(), later) == (3, [3])  # other towers keep theirs
    finally:
        torch.set_num_threads(before)
    assert found.tolist() == list(range(0, 4 * PIECE, 2))
    assert (threads, len(names)) == ({1}, 2)


def test_a_piece_that_fails_is_its_batchs_error_and_the_next_batch_runs() -> None:
    lane, rows = CpuLane(PIECE, threads=1), torch.ones(2 * PIECE)
    wait = lane.submit(lambda _: torch.ones(2) @ torch.ones(3), rows)
    with pytest.raises(RuntimeError):
        wait()
    assert lane.submit(lambda one: one + 1, rows)().tolist() == [2.0] * len(rows)


def test_the_bundled_pictures_vectors_hang_on_no_number_of_threads_and_on_no_bucket_above_a_piece() -> None:
    encoder = load("bundled", device="cpu")
    pictures = [jpeg(40 + 3 * n, 60, seed=n) for n in range(32)]
    expected = encoder.encode_images(pictures[:PIECE]).vectors
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        on_two = load("bundled", device="cpu").encode_images(pictures).vectors
    finally:
        torch.set_num_threads(before)
    assert on_two[:PIECE].tobytes() == expected.tobytes()
    assert encoder.encode_images(pictures).vectors.tobytes() == on_two.tobytes()


def test_a_small_image_towers_pieces_hang_on_no_number_of_threads() -> None:
    bundled = load("bundled", device="cpu")
    assert isinstance(bundled, TorchEncoder)
    assert isinstance(bundled.lane, CpuLane)
    assert (bundled.lane.piece, CpuLane().piece) == (PIECE, None)

    def of(tower: str, count: int) -> Weights:
        return Weights({f"{tower}.weight": torch.empty(count, device="meta")})

    assert _is_small(of("vision_model", 9_000_000))
    assert not _is_small(of("vision_model", 10_000_000))
    assert not _is_small(of("text_model", 9_000_000))  # a text encoder's may be long


def test_a_gpu_copies_beside_the_tower_and_replays_what_it_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    one = CudaLane(CPU)
    assert gpu.told.pop() == "computing waits for loading", "weights are made on the stream of who loads them"
    first = one.submit(gpu.doubled, halves(1, 2))
    assert gpu.told[:3] == ["pin", "computing waits for copying", "kept for computing"]
    assert gpu.told[3:] == ["run on computing", "run on computing", "record", "run on computing", "replay", "replay", "event on computing"]  # fmt: skip
    gpu.told.clear()
    second = one.submit(gpu.doubled, halves(3, 4))
    assert gpu.told == ["pin", "computing waits for copying", "kept for computing", "replay", "event on computing"]
    # Nothing was waited for until now, and the second replay did not overwrite what the first gave.
    assert (first().tolist(), second().tolist()) == ([2, 4], [6, 8])
    assert gpu.told[-2:] == ["waited", "waited"]
    gpu.told.clear()
    assert one.submit(gpu.doubled, halves(5))().tolist() == [10]
    assert gpu.told.count("record") == 1, "another shape is another graph"


@pytest.mark.parametrize("trouble", ["refuses", "wrong"])
def test_what_cannot_be_recorded_runs_without(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Gpu(monkeypatch, **{trouble: True})
    one = CudaLane(CPU)
    with caplog.at_level("INFO", logger=lane.__name__):
        for number in range(1, 4):
            assert one.submit(gpu.doubled, halves(number))().tolist() == [2 * number]
    assert gpu.told.count("record") == 1, "it is tried once for a shape"
    assert len(caplog.records) == 1
    assert "without" in caplog.text
    assert (one._copying is one._computing) == (trouble == "refuses"), "torch may keep what two streams have used"


def test_two_encoders_of_a_gpu_record_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)

    def slow(batch: torch.Tensor) -> torch.Tensor:
        threading.Event().wait(0.03)
        return gpu.doubled(batch)

    with ThreadPoolExecutor(2) as pool:
        ran = list(pool.map(lambda one: one.submit(slow, halves(1))().tolist(), [CudaLane(CPU), CudaLane(CPU)]))
    assert (ran, gpu.most) == ([[2], [2]], 1)


def test_an_encoder_on_a_gpu_gives_the_rows_of_the_cpu_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More pictures than its largest batch, bad ones among them; towers run without graphs here."""
    checkpoints.clip(tmp_path)
    encoder: Any = load(str(tmp_path), device="cpu")
    files = [jpeg(40, 40, seed=n % 9) for n in range(300)]
    files[7] = files[299] = b"no picture"
    here = encoder.encode_images(files)
    Gpu(monkeypatch, refuses=True)
    there = type(encoder)(
        encoder.card, encoder.fingerprint, CPU, encoder.image, encoder.text, encoder.limits, lane=CudaLane(CPU)
    )
    found = there.encode_images(files)
    assert list(found.errors) == list(here.errors) == [7, 299]
    difference = np.abs(found.vectors.astype(np.float32) - here.vectors.astype(np.float32)).max()
    assert difference <= 5e-4


@pytest.mark.needs_gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_gpu_towers_are_recorded_and_give_eager_vectors(dtype: Any, tmp_path: Path) -> None:
    checkpoints.clip(tmp_path)
    encoder: Any = load(str(tmp_path), device="cuda", dtype=dtype)
    assert encoder.lane.buckets == GPU_BUCKETS
    files = [jpeg(40, 40, seed=n) for n in range(8)]
    found = encoder.encode_images(files).vectors
    (recorded,) = encoder.lane._recorded.values()
    assert recorded is not None, "CLIP's tower never synchronises"
    pixels = torch.from_numpy(np.stack([one.result() for one in encoder.decoder.decoded(files, encoder._recipe(encoder.image), ahead=8)]))  # fmt: skip
    with torch.inference_mode():
        eager = encoder.image(pixels.to("cuda")).cpu().numpy()
    assert np.abs(found.astype(np.float32) - eager.astype(np.float32)).max() <= 2e-3
    assert encoder.encode_images(files * 40).vectors[-8:].tobytes() == encoder.encode_images(files * 40).vectors[-8:].tobytes()  # fmt: skip
