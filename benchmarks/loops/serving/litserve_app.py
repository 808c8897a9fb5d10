"""LitServe as its guide "Speed up serving by 200x" teaches: decoding in `decode_request`, batches in `predict`, the fast queue, one worker for the one device."""

from collections.abc import Sequence
from typing import Any

import litserve

from benchmarks.loops.serving import device as devices
from benchmarks.loops.serving.device import Told, told


class Peer(litserve.LitAPI):
    """A request is `{"input": TEXT or base64}`."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - whose there is one
        self.chosen = told()
        self.behind = devices.device(self.chosen)

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - FastAPI takes a type for a query's
        given = request["input"]
        return self.behind.pixels(given) if self.chosen.checkpoint else given

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def predict(self, inputs: list[Any]) -> list[list[float]]:
        return self.behind.vectors(inputs) if self.chosen.checkpoint else self.behind(inputs)

    def unbatch(self, output: Sequence[Any]) -> Sequence[Any]:
        return output

    def encode_response(self, output: list[float]) -> dict[str, Any]:
        return {"embedding": output}


def main(of: Told) -> None:
    own = of.settings or {}
    api = Peer(max_batch_size=of.largest, batch_timeout=own.get("batch_timeout", 0.0), api_path="/v1/embeddings")
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=1,
        fast_queue=own.get("fast_queue", True),
        timeout=own.get("timeout", 30),
    )
    server.run(
        host="127.0.0.1",
        port=of.port,
        num_api_servers=own.get("num_api_servers", 1),
        generate_client_file=False,
        log_level="error",
    )


if __name__ == "__main__":
    main(told())
