"""Pictures to vectors without a server, by one library: `PYTHON -m benchmarks.loops.serving.in_process WHICH`, told by the variable IN_PROCESS.

First the vectors of all files, then how many pictures a second, after one pass that is not counted. `decode` and `tower` are the two halves of ours, each alone on
all cores: no way from files to vectors on this machine can be faster than the slower of them.
"""

from __future__ import annotations

import base64
import io
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

BATCH = 16
Files = Sequence[bytes]


def ours(checkpoint: str) -> Callable[[Files], Any]:
    """Our encoder, with what `moderation serve` calls it with."""
    from moderation.encoder.checkpoint import load

    encoder = load(checkpoint, device="cpu", dtype="float32")
    return lambda files: encoder.encode_images(files).vectors.astype("float32")


def pipeline(checkpoint: str) -> Callable[[Files], Any]:
    """The `image-feature-extraction` pipeline of transformers over the image tower; the projection is one more product, on its output."""
    import torch
    import transformers
    from PIL import Image

    model = transformers.CLIPVisionModelWithProjection.from_pretrained(checkpoint).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(checkpoint)
    run = transformers.pipeline("image-feature-extraction", model=model, image_processor=processor, device="cpu")

    def vectors(files: Files) -> Any:
        pictures = [Image.open(io.BytesIO(one)) for one in files]
        rows = torch.tensor([one[0] for one in run(pictures, batch_size=BATCH)])
        return torch.nn.functional.normalize(rows, dim=-1).numpy()

    return vectors


def open_clip(checkpoint: str) -> Callable[[Files], Any]:
    """open_clip's `encode_image` over batches, on its own preprocessing."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    from benchmarks.loops.open_clip_twin import open_clip_twin

    twin, preprocess = open_clip_twin(load_file(Path(checkpoint) / "model.safetensors"))

    def vectors(files: Files) -> Any:
        found = []
        with torch.inference_mode():
            for start in range(0, len(files), BATCH):
                pictures = [
                    preprocess(Image.open(io.BytesIO(one)).convert("RGB")) for one in files[start : start + BATCH]
                ]
                found.append(twin.encode_image(torch.stack(pictures), normalize=True))
        return torch.cat(found).numpy()

    return vectors


def decode(checkpoint: str) -> Callable[[Files], Any]:
    """What ours does to files before the tower, on as many threads as there are cores."""
    from moderation.encoder import images
    from moderation.encoder.checkpoint import load
    from moderation.encoder.preprocess import fit
    from moderation.settings import ImageLimits

    side = load(checkpoint, device="cpu", dtype="float32").card.image
    limits, pool = ImageLimits(), ThreadPoolExecutor(os.cpu_count())

    def one(file: bytes) -> Any:
        images.check(file, limits)
        return fit(images.decode(file, limits), side)

    return lambda files: list(pool.map(one, files))


def tower(checkpoint: str) -> Callable[[Files], Any]:
    """Our image tower on pixels that are there, as our encoder runs it."""
    import torch

    from moderation.encoder.checkpoint import load
    from moderation.encoder.lane import CpuLane

    run = load(checkpoint, device="cpu", dtype="float32").image.tower
    pixels, lane = torch.randn(BATCH, 3, 224, 224), CpuLane()

    def passed(files: Files) -> None:
        for begun in [lane.submit(run, pixels) for _ in range(0, len(files), BATCH)]:
            begun()

    return passed


def main() -> None:
    given = json.loads(os.environ["IN_PROCESS"])
    files = [base64.b64decode(one) for one in json.loads(Path(given["files"]).read_text(encoding="utf-8"))]
    run = WAYS[sys.argv[1]](given["checkpoint"])
    found = run(files)
    vectors = found.tolist() if hasattr(found, "tolist") else None
    done, began, busy = 0, time.perf_counter(), time.process_time()
    together = list(islice(cycle(files), 4 * BATCH))
    while not done or time.perf_counter() - began < given["seconds"]:
        run(together)
        done += len(together)
    told = {"rate": done / (time.perf_counter() - began), "busy_rate": done / (time.process_time() - busy)}
    print(json.dumps({**told, "vectors": vectors}))


WAYS = {one.__name__: one for one in (ours, pipeline, open_clip, decode, tower)}

if __name__ == "__main__":
    main()
