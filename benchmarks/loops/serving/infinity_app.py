"""Infinity's own server by its command line (`infinity_emb v2`): on its debug engine, whose model sleeps here, or on a CLIP checkpoint."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from infinity_emb.cli import cli
from infinity_emb.transformer.embedder.dummytransformer import DummyTransformer

from benchmarks.loops.serving.device import NUMBERS, Told, device, told


def main(of: Told) -> None:
    if not of.checkpoint:
        asleep = device(of)

        def encode_core(_: Any, features: Any) -> Any:
            asleep(features)
            return np.tile(np.asarray(NUMBERS), (len(features), 1))

        DummyTransformer.encode_core = encode_core
    chosen = ["--model-id", of.checkpoint] if of.checkpoint else ["--model-id", "asleep", "--engine", "debugengine"]
    own = list((of.settings or {}).get("options", []))
    sys.argv[1:] = ["v2", *chosen, "--port", str(of.port), "--host", "127.0.0.1", "--url-prefix", "/v1", "--device", "cpu",
         "--batch-size", str(of.largest), "--no-vector-disk-cache", "--no-model-warmup", "--log-level", "error", *own]  # fmt: skip
    cli()


if __name__ == "__main__":
    main(told())
