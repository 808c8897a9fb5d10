"""One encoder on torch and on ONNX Runtime, by turns in each round: pictures that are decoded already, JPEG files, and texts.

Vectors are compared before anything is timed. What is reported is the median time of each, and the median over the rounds of the ratio within
a round, each number of threads in a process of its own. `--int8` quantises the towers' weights, too, and says what that does to vectors.
Needs plugins/moderation-onnx and what it depends on.

    python benchmarks/onnx_runtime.py [--checkpoint bundled] [--rounds 15] [--int8]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "moderation-onnx"))

import numpy as np
import torch
from moderation_onnx.encoder import Tower, load
from moderation_onnx.export import export
from PIL import Image

from moderation.encoder import checkpoint
from moderation.encoder.clip import TorchEncoder
from moderation.encoder.preprocess import normalise

BATCHES = (1, 8, 32)
SIZE = (640, 480)
CALLS = 32  # items in one turn, so that a batch of one is not measured by a single call
BOUND = 5e-4  # one step of float16 below 1
Run = Callable[[], Any]


def photographs(count: int) -> list[bytes]:
    """JPEG files of quality 90 with smooth fields and texture."""
    import io

    random, files = np.random.default_rng(0), []
    y, x = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    for _ in range(count):
        waves = [np.sin(x / random.uniform(5, 80) + y / random.uniform(5, 80) + random.uniform(0, 6)) for _ in range(3)]
        values = 127 + 90 * np.stack(waves, axis=-1) + random.normal(0, 6, (*SIZE[::-1], 3))
        out = io.BytesIO()
        Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
        files.append(out.getvalue())
    return files


def texts(count: int) -> list[str]:
    """Texts of about twelve tokens, each another one."""
    return [f"a photo of a red car number {n} beside the old house" for n in range(count)]


def decoded(encoder: TorchEncoder, batch: int) -> Run:
    """A batch of pixels through the image tower, normalised as the encoder does."""
    side = encoder.image
    assert side is not None
    pixels = torch.randint(0, 256, (batch, side.card.size, side.card.size, 3), dtype=torch.uint8)

    def run() -> None:
        with torch.inference_mode():
            side.tower(normalise(pixels, side.card))

    return run


def cases(there: TorchEncoder, others: dict[str, TorchEncoder]) -> Iterator[tuple[str, int, dict[str, Run]]]:
    """What is measured, of how many items, and each side's run of it."""
    sides = {"torch": there, **others}
    files, words = photographs(BATCHES[-1]), texts(BATCHES[-1])
    for batch in BATCHES:
        if there.image:
            yield "decoded", batch, {name: decoded(one, batch) for name, one in sides.items()}
            yield (
                "JPEG",
                batch,
                {name: lambda one=one, n=batch: one.encode_images(files[:n]) for name, one in sides.items()},
            )
        if there.text:
            yield (
                "text",
                batch,
                {name: lambda one=one, n=batch: one.encode_text(words[:n]) for name, one in sides.items()},
            )


def turns(runs: dict[str, Run], *, calls: int, rounds: int) -> list[dict[str, float]]:
    """Seconds of a call of each in each round, after one round that is not counted; who goes first changes."""
    found = []
    for number in range(rounds + 1):
        names = list(runs)[:: 1 if number % 2 else -1]
        row = {}
        for name in names:
            began = time.perf_counter()
            for _ in range(calls):
                runs[name]()
            row[name] = (time.perf_counter() - began) / calls
        found.append(row)
    return found[1:]


def quantised(encoder: TorchEncoder, folder: Path) -> TorchEncoder:
    """The same with weights in int8, a scale for each row, and activations quantised as they come."""
    from dataclasses import replace

    from onnxruntime.quantization import quantize_dynamic

    def tower(name: str) -> Tower:
        quantize_dynamic(folder / name, folder / f"int8.{name}", per_channel=True)
        return Tower.of((folder / f"int8.{name}").read_bytes())

    image = replace(encoder.image, tower=tower("image.onnx")) if encoder.image else None
    return replace(encoder, image=image, text=replace(encoder.text, tower=tower("text.onnx")) if encoder.text else None)


def difference(there: TorchEncoder, here: TorchEncoder) -> tuple[float, float]:
    """The largest difference of any number of a vector, and the lowest cosine, of this benchmark's pictures and texts."""
    pairs = [(there.encode_text(texts(32)), here.encode_text(texts(32)))] if there.text else []
    if there.image:
        pairs.append((there.encode_images(photographs(32)), here.encode_images(photographs(32))))
    left, right = (np.concatenate([pair[n].vectors for pair in pairs]).astype(np.float64) for n in (0, 1))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(np.abs(left - right).max()), float(((left * right).sum(1) / norms).min())


def measure(options: argparse.Namespace) -> None:
    """One number of threads, in this process."""
    torch.set_num_threads(options.threads)
    there, here = checkpoint.load(options.checkpoint, device="cpu"), load(str(options.exported))
    assert isinstance(there, TorchEncoder)
    assert isinstance(here, TorchEncoder)
    others = {"onnx": here} | ({"int8": quantised(here, options.exported)} if options.int8 else {})
    for name, one in others.items():
        largest, cosine = difference(there, one)
        print(
            f"{options.threads} thread(s), {name}: a number differs by {largest:.1e} at most, cosine {cosine:.6f} at least"
        )
        assert name == "int8" or largest <= BOUND
    for what, batch, runs in cases(there, others):
        rows = turns(runs, calls=max(1, CALLS // batch), rounds=options.rounds)
        line = f"  {what:8} batch {batch:2}"
        for name in runs:
            ratio = statistics.median(row["torch"] / row[name] for row in rows)
            line += f"  {name} {1e3 * statistics.median(row[name] for row in rows):7.2f} ms" + f" x{ratio:.2f}" * (
                name != "torch"
            )
        print(line, flush=True)


def main() -> None:
    """Exports once, then measures one and two threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bundled")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--exported", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        measure(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        exported = Path(folder) / "export"
        export(options.checkpoint, exported)
        for threads in ("1", "2"):
            command = [sys.executable, __file__, *sys.argv[1:], "--threads", threads, "--exported", str(exported)]
            subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": threads})


if __name__ == "__main__":
    main()
