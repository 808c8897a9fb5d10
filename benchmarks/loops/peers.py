"""The same cheap function on quix-streams and on faststream, each a process as its own documentation writes it: `PYTHON -m benchmarks.loops.peers PEER JOB`.

PYTHON is an interpreter that has them (the group `peers` of pyproject.toml): they ask for an older pydantic than ours.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks.loops.plain import Job, judge, verdict


def quix(job: Job, guarantee: str = "exactly-once") -> None:
    """quix-streams: `sdf.apply`, exactly once."""
    from quixstreams import Application

    app = Application(
        broker_address=job.bootstrap, consumer_group=job.group, auto_offset_reset="earliest", commit_every=job.poll_records,
        processing_guarantee=guarantee, loglevel="WARNING",
    )  # type: ignore[arg-type]  # fmt: skip
    stream = app.dataframe(app.topic(job.input, value_deserializer="bytes"))
    stream.apply(judge).to_topic(app.topic(job.output, value_serializer="bytes"))
    app.run()


def quix_at_least_once(job: Job) -> None:
    """The same with its default guarantee."""
    quix(job, "at-least-once")


def faststream(job: Job) -> None:
    """On aiokafka; faststream reads and writes the JSON: one record a call, acknowledged after it."""
    broker, options = _broker(job)

    @broker.subscriber(job.input, **options)
    @broker.publisher(job.output)
    async def handle(item: dict[str, Any]) -> dict[str, Any]:
        return verdict(item)

    _run(broker)


def faststream_batch(job: Job) -> None:
    """The same, a batch a call."""
    broker, options = _broker(job)

    @broker.subscriber(job.input, batch=True, max_records=job.poll_records, **options)
    @broker.publisher(job.output, batch=True)
    async def handle(items: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
        return tuple(map(verdict, items))

    _run(broker)


def _broker(job: Job) -> tuple[Any, dict[str, Any]]:
    from faststream import AckPolicy
    from faststream.kafka import KafkaBroker

    options = {"group_id": job.group, "auto_offset_reset": "earliest", "ack_policy": AckPolicy.NACK_ON_ERROR}
    return KafkaBroker(job.bootstrap, logger=None, max_batch_size=1_000_000), options


def _run(broker: Any) -> None:
    import asyncio

    from faststream import FastStream

    asyncio.run(FastStream(broker, logger=None).run())


def versions() -> dict[str, str]:
    """Of those peers that are installed here."""
    found = {}
    for name in ("quixstreams", "confluent-kafka", "faststream", "aiokafka"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


LOOPS: dict[str, Any] = {one.__name__: one for one in (quix, quix_at_least_once, faststream, faststream_batch)}

if __name__ == "__main__":
    if sys.argv[1] == "versions":
        print(json.dumps(versions()))
    else:
        LOOPS[sys.argv[1]](Job(**json.loads(sys.argv[2])))
