"""How a tower's batches run on a device: on a CPU in pieces side by side; on a GPU each is copied while the one before is computed.

The GPU's lane was never run on a GPU by who wrote it: its tests stand in for one, those that need one are marked so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from moderation.encoder.base import Vectors
from moderation.encoder.device import stay_on_one_thread
from moderation.encoder.tokens import BATCH_BUCKETS

# A GPU is filled by larger batches only.
GPU_BUCKETS = (*BATCH_BUCKETS, 64, 128, 256)
# Rows of a piece. Of the bundled image tower 16 rows have the bits of 32, and run as fast; 8 are a twentieth slower.
PIECE = 16
# Of any number of a vector of length 1, between what a recorded graph gives and what the same run gave.
_TOLERANCE = 2e-3
_RECORDING = threading.Lock()  # torch lets a process record one graph at a time

Run = Callable[..., Tensor]
"""What a side of an encoder does to a batch on the device: tensors in, finished vectors out, float16 [n, d]."""

_log = logging.getLogger(__name__)


class Lane(Protocol):
    """Begins batches in the order they came. Safe to call from several threads."""

    @property
    def buckets(self) -> Sequence[int]:
        """The batch sizes that run here, ascending."""
        ...

    def submit(self, run: Run, *batch: Tensor) -> Callable[[], Vectors]:
        """Run a batch, given on the CPU; what comes back waits for its vectors, on the CPU too."""
        ...


class CpuLane:
    """Pieces of a batch side by side, each on one thread: threads inside one product wait for each other, the longer the more else the machine does.

    `piece` are the rows of one, and then a vector hangs on no number of threads. Without it a batch runs in as many pieces as there are threads (the
    power of two below), and one of fewer rows whole, on all of them, so that a lone row need not wait for one thread. `threads` are torch's by default.
    """

    buckets: Sequence[int] = BATCH_BUCKETS

    def __init__(self, piece: int | None = None, *, threads: int | None = None) -> None:
        threads = threads or torch.get_num_threads()
        self.piece = piece
        self._pieces = 1 << (threads.bit_length() - 1)
        self._pool = ThreadPoolExecutor(threads, "tower", initializer=stay_on_one_thread)
        self._lock = threading.Lock()
        self._begun: list[Future[Vectors]] = []

    def submit(self, run: Run, *batch: Tensor) -> Callable[[], Vectors]:
        """Begin; the caller may prepare the next batch meanwhile, and submit it. What runs whole is made before this returns."""
        rows = len(batch[0])
        piece = self.piece or rows // self._pieces
        with self._lock:
            if not piece:
                wait(self._begun)  # beside others its threads would spin
                made = _vectors(run, batch)
                return lambda: made
            pieces = zip(*(torch.split(one, piece) for one in batch), strict=True)
            begun = [self._pool.submit(_vectors, run, one) for one in pieces]
            self._begun = [one for one in self._begun if not one.done()] + begun
        return lambda: np.concatenate([one.result() for one in begun])


class CudaLane:
    """One GPU: pinned copies on one stream, towers on another, and what a tower does to a shape recorded once and replayed.

    Where a tower cannot be recorded (it asks the device for something on the way), it runs operation by operation.
    """

    buckets: Sequence[int] = GPU_BUCKETS

    def __init__(self, device: torch.device) -> None:
        self._device, self._lock = device, threading.Lock()
        self._copying, self._computing = _stream(device), _stream(device)
        self._computing.wait_stream(torch.cuda.current_stream(device))  # on which the weights were put there
        self._recorded: dict[tuple[Any, ...], _Recorded | None] = {}  # by what runs and the batch's shapes; None: eager
        self._memory: Any = None  # that all graphs share, since only one runs at a time

    def submit(self, run: Run, *batch: Tensor) -> Callable[[], Vectors]:
        """Begin to copy and run; the caller may prepare the next batch meanwhile, and submit it."""
        with self._lock, torch.inference_mode(), torch.cuda.device(self._device):
            # Pinned memory comes from torch's cache, which gives none of it away before the copy is done.
            pinned = [one.pin_memory() for one in batch]
            with torch.cuda.stream(self._copying):
                given = [one.to(self._device, non_blocking=True) for one in pinned]
            self._computing.wait_stream(self._copying)
            with torch.cuda.stream(self._computing):
                for one in given:
                    one.record_stream(self._computing)  # it was made on the other stream
                made = self._run(run, given)
                vectors = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
                vectors.copy_(made, non_blocking=True)
                done: torch.cuda.Event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                done.record(self._computing)

        def wait() -> Vectors:
            done.synchronize()
            return vectors.numpy()

        return wait

    def _run(self, run: Run, given: Sequence[Tensor]) -> Tensor:
        key = (run, *(tuple(one.shape) for one in given))
        if key not in self._recorded:
            self._recorded[key] = self._record(run, given)
        recorded = self._recorded[key]
        return run(*given) if recorded is None else recorded(given)

    def _record(self, run: Run, given: Sequence[Tensor]) -> _Recorded | None:
        static = [one.clone() for one in given]
        run(*static)  # sets up what must not be set up while it is recorded
        expected = run(*static)
        try:
            self._memory = self._memory or torch.cuda.graph_pool_handle()
            graph = torch.cuda.CUDAGraph()
            # Of this thread alone: other threads may allocate while this records.
            with (
                _RECORDING,
                torch.cuda.graph(graph, pool=self._memory, stream=self._computing, capture_error_mode="thread_local"),
            ):
                made = run(*static)
            recorded = _Recorded(graph, static, made)
            if torch.allclose(recorded(given), expected, rtol=0, atol=_TOLERANCE, equal_nan=True):
                return recorded
            _log.warning("a recorded graph gave other vectors than its run: batches of %s run without", static[0].shape)
        except RuntimeError as error:  # a tower that synchronises cannot be recorded
            _log.info("batches of %s run without a graph: %s", tuple(static[0].shape), type(error).__name__)
            # Torch before 2.13 never lets go, from here on, of what two streams have used.
            self._copying = self._computing
        return None


@dataclass(frozen=True, slots=True, eq=False)
class _Recorded:
    """A graph with its own input and output; the output is read, in the stream's order, before the next replay."""

    graph: Any
    given: Sequence[Tensor]
    made: Tensor

    def __call__(self, given: Sequence[Tensor]) -> Tensor:
        for own, one in zip(self.given, given, strict=True):
            own.copy_(one)
        self.graph.replay()
        return self.made


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]


@torch.inference_mode()
def _vectors(run: Run, batch: Sequence[Tensor]) -> Vectors:
    made: Vectors = run(*batch).numpy()
    return made


def lane_on(device: torch.device, *, small: bool = False) -> Lane:
    """The lane of a device; `small` says that a tower's products are too small for two threads in any of them."""
    return CudaLane(device) if device.type == "cuda" else CpuLane(PIECE if small else None)
