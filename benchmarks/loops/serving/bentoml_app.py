"""BentoML as its page "Adaptive batching" teaches: a batchable API with its largest batch and latency, one worker for the one device."""

from __future__ import annotations

import os
import sys
from typing import Any

import bentoml

from benchmarks.loops.serving.device import device, told

OF = told()
OWN: dict[str, Any] = OF.settings or {}


@bentoml.service(workers=1, traffic=OWN.get("traffic", {"timeout": 60}), logging={"access": {"enabled": False}})
class Peer:
    """A request is `{"input": [TEXT]}`: a batchable API takes lists."""

    def __init__(self) -> None:
        self.device = device(OF)

    @bentoml.api(
        batchable=True,
        route="/v1/embeddings",
        max_batch_size=OF.largest,
        max_latency_ms=OWN.get("max_latency_ms", 60_000),
    )
    def embed(self, input: list[str]) -> list[list[float]]:  # noqa: A002 - the field's name
        return self.device(input)


def main() -> None:
    command = [sys.executable, "-m", "bentoml", "serve", "-q", f"{__spec__.name}:Peer"]
    os.execv(command[0], [*command, "--host", "127.0.0.1", "--port", str(OF.port)])  # noqa: S606


if __name__ == "__main__":
    main()
