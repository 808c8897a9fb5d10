"""What metering costs a worker: batches of records through a session and a decider that do nothing, bare and metered, side by side.

Prints microseconds a record, the best of several rounds each, and their difference as a share of one core at 10,000 records a second.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from moderation.decision import Decision, Outcome, Severity, Timing, Verdict
from moderation.stream.batch import Batch, Membership, Output, Partition, Record
from moderation.stream.metrics import MeteredDecider, MeteredSession, Metrics
from moderation.stream.worker import Decider, Outputs, Session

RECORDS, BATCHES = 500, 20
INSIDE = Membership("g", 1, "m", None)


class _Session:
    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    held = False

    def poll(self, _seconds: float) -> Batch:
        return self._batch

    def commit(self, _batch: Batch, _outputs: Sequence[Output], *, note: str = "") -> bool:
        return note == ""

    def mark(self, _batch: Batch, _note: str, *, otherwise: str) -> bool:
        return otherwise == ""

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class _Decider:
    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def decide(self, _records: Sequence[Record]) -> Outputs:
        return self._outputs

    def set_aside(self, *_arguments: object, **_options: object) -> Output:
        raise NotImplementedError


def _seconds(session: Session, decider: Decider) -> float:
    began = time.perf_counter()
    for _ in range(BATCHES):
        batch = session.poll(0.1)
        session.commit(batch, [one for of_record in decider.decide(batch.records) for one in of_record])
    return (time.perf_counter() - began) / (BATCHES * RECORDS)


def main() -> None:
    """Both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    verdicts = tuple(
        Verdict(name, "1", "r", "live", Outcome.NO_MATCH, Severity.LOW) for name in ("weapons", "drugs", "insults")
    )
    decision = Decision("i", "d", "allow", Severity.INFO, "allow", verdicts, {}, Timing(0.1, 0.2, 0.3))
    headers = (
        ("content-type", b"json"),
        *((f"moderation.source.{one}", b"1") for one in ("topic", "partition", "offset")),
    )
    records = tuple(Record(Partition("in", 0), n, 1000, b"k", b"v", (), 2) for n in range(RECORDS))
    outputs: Outputs = [(Output("out", b"{}", b"k", headers, decision=decision),) for _ in records]
    session, decider, metrics = _Session(Batch(INSIDE, records)), _Decider(outputs), Metrics()
    metered = MeteredSession(session, metrics), MeteredDecider(decider, metrics)
    both = [(_seconds(session, decider), _seconds(*metered)) for _ in range(arguments.rounds)]
    bare, counted = (1e6 * min(one) for one in zip(*both, strict=True))
    if arguments.json:
        print(json.dumps({"records": RECORDS, "bare_us": bare, "metered_us": counted, "more_us": counted - bare}))
        return
    print(f"bare {bare:.2f} us a record, metered {counted:.2f} us: {counted - bare:.2f} us more,")
    print(f"{(counted - bare) / 1e6 * 10_000:.1%} of one core at 10,000 records a second, with 3 policies")


if __name__ == "__main__":
    main()
