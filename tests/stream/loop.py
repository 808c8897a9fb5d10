"""A tiny worker: polls, copies every record to the output, commits, until SIGTERM. `python -m tests.stream.loop SETTINGS [SECONDS]`.

SECONDS is what a batch takes; while it is at work it goes on polling, as a worker must.
"""

from __future__ import annotations

import signal
import sys
import time

from moderation.errors import StreamError
from moderation.sections import StreamSettings
from moderation.stream.batch import Batch, Output
from moderation.stream.liveness import leave, watch
from moderation.stream.session import Session


def run(settings: StreamSettings, seconds: float) -> None:
    """Until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    with Session(settings) as session:
        watch(session.progress, settings.stall_seconds)
        while not stopping:
            batch = session.poll(0.5)
            if batch.records and _worked(session, seconds):
                session.commit(batch, outputs(batch, settings.outputs[0]))


def outputs(batch: Batch, topic: str) -> list[Output]:
    """One for each record, which says where it is from."""
    return [
        Output(topic, one.value, one.key, (("from", f"{one.partition.number} {one.offset}".encode()),))
        for one in batch.records
    ]


def _worked(session: Session, seconds: float) -> bool:
    """Take the time that a batch takes; False where its assignment was lost meanwhile."""
    end = time.monotonic() + seconds
    session.pause()
    stands = True
    while stands and time.monotonic() < end:
        stands = session.poll(0.1).assigned is None
    session.resume()
    return stands


if __name__ == "__main__":
    try:
        run(StreamSettings.model_validate_json(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    except StreamError as failure:
        leave(failure)
