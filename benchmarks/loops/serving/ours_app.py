"""Ours on the device that sleeps: the app of `moderation serve` with two policies, everything real but the encoder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence

import numpy as np

from benchmarks.loops.serving.device import Told, device, told
from moderation.cli.process import settled_heap
from moderation.encoder.base import Encoded
from moderation.item import Modality
from moderation.server.costs import SIZES, Kind
from tests.fakes import FakeEncoder, at
from tests.served import serving

VECTOR = at(0.0).astype(np.float16)  # of nothing that any policy forbids


class Asleep(FakeEncoder):
    """Encodes as long as the device does."""

    def __init__(self, of: Told) -> None:
        super().__init__()
        self.behind = device(of)

    def encode_text(self, texts: Sequence[str]) -> Encoded:
        self.behind(texts)
        return Encoded(np.tile(VECTOR, (len(texts), 1)), {})


def main(of: Told) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    costs = {Kind("default", Modality.TEXT): {size: of.fixed + of.each * size for size in SIZES}}
    with serving(encoder=Asleep(of), costs=costs, port=of.port), settled_heap():  # as `moderation serve` does
        stop.wait()


if __name__ == "__main__":
    main(told())
