"""Ray Serve as "Dynamic Request Batching" teaches, one replica for the one device, with what "Performance Tuning" says for throughput."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from typing import Any

import ray
from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.requests import Request

from benchmarks.loops.serving.device import Told, device, told


def deployment(of: Told) -> Any:
    own = of.settings or {}

    @serve.deployment(
        num_replicas=1,
        max_ongoing_requests=own.get("max_ongoing_requests", 1000),
        max_queued_requests=own.get("max_queued_requests", -1),
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        ray_actor_options={"num_cpus": 1},
    )
    class Peer:
        """A request is `{"input": TEXT or base64}`."""

        def __init__(self) -> None:
            self.device = device(of)

        @serve.batch(max_batch_size=of.largest, batch_wait_timeout_s=own.get("batch_wait_timeout_s", 0.0))
        async def embed(self, inputs: list[str]) -> list[list[float]]:
            # "Asyncio and concurrency best practices": what blocks runs in a thread, so that requests are taken meanwhile.
            return await asyncio.to_thread(self.device, inputs)

        async def __call__(self, request: Request) -> dict[str, Any]:
            return {"embedding": await self.embed((await request.json())["input"])}

    return Peer.bind()


def main(of: Told) -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=True,
        logging_level="ERROR",
    )
    serve.start(http_options={"host": "127.0.0.1", "port": of.port}, logging_config={"enable_access_log": False})
    serve.run(deployment(of), route_prefix="/v1/embeddings")
    stop.wait()
    serve.shutdown()
    ray.shutdown()
    sys.exit(0)


if __name__ == "__main__":
    main(told())
