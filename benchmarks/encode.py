"""How much of the machine's matrix rate encoding reaches, and how long it takes from JPEG bytes to vector.

Two tables on one random ViT-B/32: (a) the tower at batch 16 as a share of the matrix rate measured in the same round,
ours and transformers' CLIPModel; (b) from the bytes of JPEG files to normalised vectors: ours, open_clip, and
transformers' zero-shot-image-classification pipeline, all from the same weights. Both peers' vectors are compared with
ours before anything is timed, and a difference beyond BOUNDS is an error. Every round runs all of them one after another,
so that a busy machine slows them alike; what is reported is the median over the rounds of the ratio within each round.

    python benchmarks/encode.py [--rounds 7] [--images 32] [--dtype float32 bfloat16] [--clock wall] [--json]

On a machine that does other work, `--clock cpu` counts processor time on one thread instead.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from benchmarks.loops.open_clip_twin import open_clip_twin
from moderation.encoder.bench import Run, matrix_rate, photographs, product, rounds_of
from moderation.encoder.checkpoint import load
from moderation.encoder.towers import LeanImageTower
from moderation.encoder.weights import Weights

BATCH, SIDE, PATCH, WIDTH, LAYERS, OUT = 16, 224, 32, 768, 12, 512
TOKENS = (SIDE // PATCH) ** 2 + 1
LABELS = ["a gun", "a cat"]
# The largest difference from a peer in any of a vector's numbers, vectors being of length 1 and ours rounded to float16.
# Two different pictures of this benchmark differ by 5e-3 or more, so that these bounds tell them apart.
BOUNDS = {"float32": 2e-4, "bfloat16": 4e-3}
CPU = torch.device("cpu")


def flops() -> float:
    """Of one picture through the image tower, a multiplication and an addition being two."""
    layer = 2 * TOKENS * 12 * WIDTH**2 + 4 * TOKENS**2 * WIDTH
    return LAYERS * layer + 2 * (TOKENS - 1) * 3 * PATCH**2 * WIDTH + 2 * WIDTH * OUT


def random_clip() -> Any:
    """A CLIP ViT-B/32 with random weights; its text tower is one layer, since pictures are what is measured."""
    torch.manual_seed(0)
    act = {"hidden_act": "quick_gelu"}
    special = {"vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63, "pad_token_id": 63}
    config = transformers.CLIPConfig(
        text_config={**act, **special, "num_hidden_layers": 1},
        vision_config={**act, "patch_size": PATCH, "num_hidden_layers": LAYERS},
        projection_dim=OUT,
    )
    return transformers.CLIPModel(config).eval()


def lean(model: Any, dtype: torch.dtype) -> LeanImageTower:
    """Our image tower with the weights of transformers' model."""
    return LeanImageTower.of(Weights.of(model), model.config.to_dict(), dtype)


def write_checkpoint(model: Any, folder: Path) -> None:
    """The model with a processor and a small tokenizer, as a checkpoint folder."""
    model.save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    start, end = "<|startoftext|>", "<|endoftext|>"
    names = ["[UNK]", "a", "gun", "cat", *(f"[unused{n}]" for n in range(58)), start, end]
    ids = {name: at for at, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, ids[start]), (end, ids[end])]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=end, eos_token=end).save_pretrained(
        folder
    )


# The machine's matrix rate is the best of these: a large square, and the tower's own shapes.
PRODUCTS = {
    "square": (2048, 2048, 2048),
    "up": (BATCH * TOKENS, WIDTH, 4 * WIDTH),
    "down": (BATCH * TOKENS, 4 * WIDTH, WIDTH),
}


@torch.inference_mode()
def shares(model: Any, dtype: str, count: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Table (a): the tower's rate over the matrix rate of the same round."""
    kind = getattr(torch, dtype)
    ours, theirs = lean(model, kind), random_clip().to(kind)
    pixels = torch.randn(BATCH, 3, SIDE, SIDE).to(kind)
    runs: dict[str, Run] = {
        **{name: product(shape, kind, CPU) for name, shape in PRODUCTS.items()},
        "ours": lambda: ours(pixels),
        "transformers": lambda: theirs.get_image_features(pixel_values=pixels),
    }
    rows = rounds_of(runs, count, clock)
    rate = statistics.median(matrix_rate(row, PRODUCTS) for row in rows)
    share = {
        name: [BATCH * flops() / row[name] / matrix_rate(row, PRODUCTS) for row in rows]
        for name in ("ours", "transformers")
    }
    return {
        "matrix_gflops": round(rate / 1e9, 1),
        **{name: round(statistics.median(values), 3) for name, values in share.items()},
        "spread": {name: [round(min(values), 3), round(max(values), 3)] for name, values in share.items()},
    }


@torch.inference_mode()
def from_bytes(
    model: Any, folder: Path, dtype: str, options: argparse.Namespace, clock: Callable[[], float]
) -> dict[str, Any]:
    """Table (b): seconds from JPEG bytes to vectors, as a multiple of ours."""
    files, kind = photographs(options.images), getattr(torch, dtype)
    encoder = load(str(folder), device="cpu", dtype=dtype)  # type: ignore[arg-type]
    twin, preprocess = open_clip_twin(model.state_dict())
    twin = twin.to(kind)
    pipeline = transformers.pipeline(
        "zero-shot-image-classification", model=random_clip().to(kind), device="cpu",
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        image_processor=transformers.AutoImageProcessor.from_pretrained(folder),
    )  # fmt: skip

    def open_clip_vectors() -> Any:
        found = []
        for start in range(0, len(files), BATCH):
            images = [preprocess(Image.open(io.BytesIO(file)).convert("RGB")) for file in files[start : start + BATCH]]
            found.append(twin.encode_image(torch.stack(images).to(kind), normalize=True))
        return torch.cat(found)

    def pipeline_scores() -> Any:
        images = [Image.open(io.BytesIO(file)) for file in files]
        return pipeline(images, candidate_labels=LABELS, batch_size=BATCH)

    peers = {"open_clip": open_clip_vectors(), "transformers_pipeline": pipeline_vectors(pipeline, files)}
    differences = compare(encoder.encode_images(files).vectors, peers, BOUNDS[dtype])
    runs: dict[str, Run] = {
        "ours": lambda: encoder.encode_images(files),
        "open_clip": open_clip_vectors,
        "transformers_pipeline": pipeline_scores,
    }
    rows = rounds_of(runs, options.rounds, clock)
    return {
        "images_per_second": round(statistics.median(len(files) / row["ours"] for row in rows), 2),
        "largest_difference_from": {name: float(f"{value:.1e}") for name, value in differences.items()},
        "bound": BOUNDS[dtype],
        "seconds_over_ours": {
            name: round(statistics.median(row[name] / row["ours"] for row in rows), 2)
            for name in runs
            if name != "ours"
        },
    }


def pipeline_vectors(pipeline: Any, files: list[bytes]) -> Any:
    """The normalised vectors behind the pipeline's scores: its own processor and its own model."""
    images = [Image.open(io.BytesIO(file)) for file in files]
    pixels = pipeline.image_processor(images=images, return_tensors="pt")["pixel_values"]
    found = pipeline.model.get_image_features(pixel_values=pixels.to(pipeline.model.dtype))
    vectors = found if isinstance(found, torch.Tensor) else found.pooler_output  # transformers 5 wraps it
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def compare(ours: np.ndarray, peers: dict[str, torch.Tensor], bound: float) -> dict[str, float]:
    """The largest difference from each peer's vectors; stops where one is beyond the bound, or no number."""
    differences = {
        name: float(np.abs(ours.astype(np.float32) - vectors.float().numpy()).max()) for name, vectors in peers.items()
    }
    for name, difference in differences.items():
        if not difference <= bound:
            raise SystemExit(f"our vectors differ from {name}'s by {difference:.1e}; expected at most {bound}")
    return differences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.clock == "cpu":
        torch.set_num_threads(1)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    result: dict[str, Any] = {
        "model": "ViT-B/32, random weights", "batch": BATCH, "clock": options.clock, "rounds": options.rounds,
        "threads": torch.get_num_threads(), "load_before": round(os.getloadavg()[0], 1), "torch": torch.__version__,
    }  # fmt: skip
    model = random_clip()
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(model, Path(folder))
        for dtype in options.dtype:
            tower = shares(model, dtype, options.rounds, clock)
            result[dtype] = {
                "share_of_matrix_rate": tower,
                "from_jpeg": from_bytes(model, Path(folder), dtype, options, clock),
            }
    result["load_after"] = round(os.getloadavg()[0], 1)
    print(json.dumps(result, indent=2) if options.json else table(result))


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{result['model']}; {result['threads']} threads, {result['clock']} clock, load {result['load_before']}"]
    for dtype in (name for name in ("float32", "bfloat16") if name in result):
        tower, jpeg = result[dtype]["share_of_matrix_rate"], result[dtype]["from_jpeg"]
        lines += [
            f"{dtype}",
            f"  tower at batch {BATCH}, share of {tower['matrix_gflops']} GFLOP/s",
            f"    ours {tower['ours']:.2f}   transformers {tower['transformers']:.2f}",
            f"  JPEG bytes to vector, ours {jpeg['images_per_second']} pictures/s; time over ours",
            "    " + "   ".join(f"{name} {ratio:.2f}" for name, ratio in jpeg["seconds_over_ours"].items()),
            "    (the pipeline's time includes its text and softmax; ours decodes on a pool of threads, the others on one)",
            f"    largest difference of vectors, at most {jpeg['bound']}: "
            + "   ".join(f"{name} {value:.1e}" for name, value in jpeg["largest_difference_from"].items()),
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
