"""A training step of ours beside one of open_clip's: time, peak memory and loss curve from the same weights on the same batches.

Ours is the loop of `moderation train`, step by step; the peer is open_clip's model, its ClipLoss and the step of its own
training script (autocast, AdamW, clipped gradients, clamped scale). Their weights are one random CLIP's, and their vectors
are compared before anything is timed: a difference beyond 1e-5 is an error. Both see the same pixels and captions with
the same rates, decay and clipping, no dropout; ours alone keeps a
running average, whose cost counts. Steps are taken by turns in one process, so that a
busy machine slows both alike; reported are the medians of the seconds and of the ratio within each pair of steps with its
quartiles. Peak memory is that of each alone in a process of its own: over what was there before the model, weights
and optimiser included.

    python benchmarks/train.py [--model small] [--captions web full] [--batch 64] [--steps 12] [--precision fp32] [--compile]
                               [--json]

`--captions web` has about as many words as captions on the web, mostly 6 to 25 with a long tail; `full` has captions of 75
words, which leave nothing to trim. With a CUDA device `--model` may be ViT-B-32, ViT-B-16 or ViT-L-14, and the model's own
floating point operations, trimmed or not, are reported as a share of `--peak` TFLOP/s (an H100's 989 in bfloat16).
"""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn

from moderation.training.config import PairRun
from moderation.training.loop import steps
from moderation.training.pairing import Batch, Pairing
from moderation.training.state import State
from moderation.training.task import Rank

CONTEXT, WARM, RATE, DECAY, CLIP = 77, 2, 5e-4, 0.2, 1.0
BOUND = 1e-5  # of any number of a vector of length 1, in float32
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, slots=True)
class Size:
    """A CLIP: pixels, patch, then width, layers and heads of the image and of the text tower."""

    pixels: int
    patch: int
    image: tuple[int, int, int]
    text: tuple[int, int, int]
    words: int = 49408
    out: int = 512

    def flops(self) -> tuple[float, float]:
        """Of one picture and of one token through the towers, forward; attention's own are left out, a few in a hundred."""
        patches = (self.pixels // self.patch) ** 2
        image = 24 * self.image[0] ** 2 * self.image[1] * (patches + 1) + 6 * patches * self.patch**2 * self.image[0]
        return float(image), 24.0 * self.text[0] ** 2 * self.text[1]


SIZES = {
    "tiny": Size(32, 16, (32, 2, 2), (32, 2, 2), words=64, out=16),
    "small": Size(64, 16, (256, 4, 4), (256, 4, 4), words=8192, out=256),
    "ViT-B-32": Size(224, 32, (768, 12, 12), (512, 12, 8)),
    "ViT-B-16": Size(224, 16, (768, 12, 12), (512, 12, 8)),
    "ViT-L-14": Size(224, 14, (1024, 24, 16), (768, 12, 12), out=768),
}


def write_start(size: Size, folder: Path) -> None:
    """A random CLIP of transformers with tokenizer and processor, to start from."""
    torch.manual_seed(0)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    image, text = dict(zip(names, size.image, strict=True)), dict(zip(names, size.text, strict=True))
    end, act = size.words - 1, {"hidden_act": "gelu"}
    config = transformers.CLIPConfig(
        vision_config={
            **image, **act, "intermediate_size": 4 * size.image[0], "image_size": size.pixels, "patch_size": size.patch,
        },
        text_config={
            **text, **act, "intermediate_size": 4 * size.text[0], "max_position_embeddings": CONTEXT,
            "vocab_size": size.words, "bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end,
        },
        projection_dim=size.out,
    )  # fmt: skip
    transformers.CLIPModel(config).save_pretrained(folder)
    square = {"height": size.pixels, "width": size.pixels}
    transformers.CLIPImageProcessorPil(size={"shortest_edge": size.pixels}, crop_size=square).save_pretrained(folder)
    ids = {f"w{at}": at for at in range(end - 1)} | {"<start>": end - 1, "<end>": end}
    words = Tokenizer(models.WordLevel(ids, unk_token="w0"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(name, ids[name]) for name in ("<start>", "<end>")]
    words.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<end>", eos_token="<end>")  # noqa: S106
    fast.save_pretrained(folder)


def write_pairs(size: Size, count: int, captions: str, folder: Path) -> Path:
    """Pictures of noise, each with one caption."""
    dice, rows = np.random.default_rng(0), []
    for at in range(count):
        out = io.BytesIO()
        Image.fromarray(dice.integers(0, 256, (size.pixels, size.pixels, 3), np.uint8)).save(out, "PNG")
        (folder / f"{at}.png").write_bytes(out.getvalue())
        length = CONTEXT - 2 if captions == "full" else int(np.clip(dice.lognormal(math.log(11), 0.6), 3, CONTEXT - 2))
        words = " ".join(f"w{word}" for word in dice.integers(1, size.words - 2, length))
        rows.append(json.dumps({"path": f"{at}.png", "captions": [words]}))
    path = folder / "captions.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


class Recorded(Pairing):
    """The task of `moderation train`, over batches that were made before the clock runs."""

    def __init__(self, run: PairRun) -> None:
        super().__init__(run, Rank(0, 1, DEVICE))
        self.recorded = list(super().batches(0, run.steps))

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The recorded ones."""
        return iter(self.recorded[start:stop])


def ours(task: Recorded, run: PairRun) -> Iterator[float]:
    """The loss of each step of our loop."""
    return (one.loss for one in steps(run, Rank(0, 1, DEVICE), task, State(run, task, Rank(0, 1, DEVICE)), 0))


def peer_of(model: Any, size: Size) -> Any:
    """open_clip's model with the weights of transformers' CLIPModel."""
    import open_clip

    towers = {
        "vision_cfg": {
            "image_size": size.pixels, "patch_size": size.patch, "width": size.image[0], "layers": size.image[1],
            "head_width": size.image[0] // size.image[2],
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": size.words, "width": size.text[0], "layers": size.text[1],
            "heads": size.text[2],
        },
    }  # fmt: skip
    peer = open_clip.CLIP(size.out, **towers, output_dict=True)
    vision, text, state = model.vision_model, model.text_model, {"logit_scale": model.logit_scale}
    state |= {
        "visual.class_embedding": vision.embeddings.class_embedding,
        "visual.positional_embedding": vision.embeddings.position_embedding.weight,
        "visual.conv1.weight": vision.embeddings.patch_embedding.weight,
        "visual.proj": model.visual_projection.weight.t(),
        "token_embedding.weight": text.embeddings.token_embedding.weight,
        "positional_embedding": text.embeddings.position_embedding.weight,
        "text_projection": model.text_projection.weight.t(),
    }
    parts = {"visual.ln_pre": vision.pre_layrnorm, "visual.ln_post": vision.post_layernorm}
    parts["ln_final"] = text.final_layer_norm
    for prefix, tower in (("visual.", vision), ("", text)):
        for at, layer in enumerate(tower.encoder.layers):
            block, attention = f"{prefix}transformer.resblocks.{at}.", layer.self_attn
            joined = (attention.q_proj, attention.k_proj, attention.v_proj)
            state[block + "attn.in_proj_weight"] = torch.cat([one.weight for one in joined])
            state[block + "attn.in_proj_bias"] = torch.cat([one.bias for one in joined])
            parts |= {block + "ln_1": layer.layer_norm1, block + "ln_2": layer.layer_norm2}
            parts |= {block + "attn.out_proj": attention.out_proj}
            parts |= {block + "mlp.c_fc": layer.mlp.fc1, block + "mlp.c_proj": layer.mlp.fc2}
    for name, part in parts.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = part.weight, part.bias
    peer.load_state_dict({name: value.detach().clone() for name, value in state.items()})
    return peer.to(DEVICE)


def whole(batches: Sequence[Batch]) -> list[tuple[Tensor, Tensor]]:
    """Pixels, and ids as open_clip's tokenizer makes them: zeros up to the whole context."""
    return [(one.pixels, nn.functional.pad(one.ids * one.mask, (0, CONTEXT - one.ids.shape[1]))) for one in batches]


def theirs(peer: Any, batches: Sequence[tuple[Tensor, Tensor]], options: argparse.Namespace) -> Iterator[float]:
    """The loss of each step of open_clip's `train_one_epoch`, whose order of calls this is, less its logging."""
    from open_clip.loss import ClipLoss
    from open_clip_train.precision import get_autocast

    autocast = get_autocast("amp_bf16" if options.precision == "bf16" else "fp32", device_type=DEVICE.type)
    named, loss = list(peer.named_parameters()), ClipLoss()
    kept = [one for name, one in named if one.ndim < 2 or any(word in name for word in ("bn", "ln", "bias", "scale"))]
    decayed = [one for _, one in named if not any(one is other for other in kept)]
    groups = [{"params": kept, "weight_decay": 0.0}, {"params": decayed, "weight_decay": DECAY}]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.98), eps=1e-6)
    model = torch.compile(peer) if options.compile else peer
    peer.train()
    for pixels, ids in batches:
        optimiser.zero_grad()
        with autocast():
            total = sum(loss(**model(pixels, ids), output_dict=True).values())
        total.backward()
        nn.utils.clip_grad_norm_(peer.parameters(), CLIP, norm_type=2.0)
        optimiser.step()
        with torch.no_grad():
            peer.logit_scale.clamp_(0, math.log(100))
        yield total.item()


def compare(task: Recorded, peer: Any) -> float:
    """The largest difference of the vectors of the first batch; stops where it is beyond the bound, or no number."""
    batch, ((_, ids),) = task.recorded[0], whole(task.recorded[:1])
    with torch.inference_mode():
        made = task.model.eval()(batch.pixels, batch.ids, batch.mask)
        found = peer.eval().encode_image(batch.pixels, normalize=True), peer.encode_text(ids, normalize=True)
        difference = max((mine - other).abs().max().item() for mine, other in zip(made, found, strict=True))
    if not difference <= BOUND:
        raise SystemExit(f"our vectors differ from open_clip's by {difference:.1e}; expected at most {BOUND}")
    return difference


def prepared(options: argparse.Namespace, captions: str, folder: Path) -> tuple[PairRun, Recorded]:
    """A run over files in the folder."""
    size, count = SIZES[options.model], WARM + options.steps
    write_start(size, folder)
    values = {
        "out": folder / "out", "steps": count, "batch": options.batch, "save_every": 10**9, "precision": options.precision,
        "data": {"pairs": [write_pairs(size, options.batch * min(count, 4), captions, folder)]},
        "model": {"start": str(folder), "compile": options.compile},
        "optimiser": {
            "rate": RATE, "tower_rate": RATE, "weight_decay": DECAY, "warm_up": 0, "cool_down": 0, "clip": CLIP, "average": 0,
        },
    }  # fmt: skip
    run = PairRun.model_validate(values)
    task = Recorded(run)
    task.close()
    return run, task


def by_turns(options: argparse.Namespace, captions: str) -> dict[str, Any]:
    """Seconds, ratio and loss curves."""
    with tempfile.TemporaryDirectory() as folder:
        run, task = prepared(options, captions, Path(folder))
    peer = peer_of(task.model.model, SIZES[options.model])
    difference = compare(task, peer)
    both = {"ours": ours(task, run), "open_clip": theirs(peer, whole(task.recorded), options)}
    rows = [{name: timed(losses) for name, losses in both.items()} for _ in range(run.steps)]
    seconds = {name: statistics.median(row[name][0] for row in rows[WARM:]) for name in both}
    ratios = [row["open_clip"][0] / row["ours"][0] for row in rows[WARM:]]
    curves = {name: [round(row[name][1], 6) for row in rows] for name in both}
    found = {
        "captions": captions,
        "tokens_a_caption": {"ours": round(tokens(task.recorded), 1), "open_clip": CONTEXT},
        "largest_difference_of_vectors": float(f"{difference:.1e}"),
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "open_clip_over_ours": [round(float(np.quantile(ratios, at)), 3) for at in (0.25, 0.5, 0.75)],
        "loss": curves,
        "largest_difference_of_loss": float(np.abs(np.subtract(*curves.values())).max().round(6)),
    }
    return found | ({"model_flop_share": shares(options, task, seconds)} if DEVICE.type == "cuda" else {})


def timed(losses: Iterator[float]) -> tuple[float, float]:
    """Seconds and loss of the next step, all of it: both have read the loss back, but the step may still run."""
    began = time.perf_counter()
    loss = next(losses)
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began, loss


def tokens(batches: Sequence[Batch]) -> float:
    """How many a caption has, special ones included."""
    return statistics.mean(one.mask.sum().item() / len(one.mask) for one in batches)


def shares(options: argparse.Namespace, task: Recorded, seconds: dict[str, float]) -> dict[str, float]:
    """Model-FLOP utilisation: three times those of the forward pass over the time and the peak.

    Only ours is charged with the captions' real tokens; open_clip's padding counts as work, which is in its favour.
    """
    image, token = SIZES[options.model].flops()
    length = {"ours": tokens(task.recorded), "open_clip": CONTEXT}
    work = {name: 3 * options.batch * (image + length[name] * token) for name in seconds}
    return {name: round(work[name] / seconds[name] / (options.peak * 1e12), 3) for name in seconds}


def peak(name: str, options: argparse.Namespace) -> float:
    """MB that training takes at its height, weights and optimiser included, to be called once in a process."""
    import open_clip  # noqa: F401 - its own memory counts for neither
    import open_clip_train.precision  # noqa: F401

    before = memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        run, task = prepared(options, options.captions[0], Path(folder))
    if name == "ours":
        losses = ours(task, run)
    else:
        losses = theirs(peer_of(task.model.model, SIZES[options.model]), whole(task.recorded), options)
    del task
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5 resets the high-water mark
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(WARM + 1):
        next(losses)
    return torch.cuda.max_memory_allocated() / 1e6 if DEVICE.type == "cuda" else memory("VmHWM") - before


def memory(line: str) -> float:
    """MB of a line of the kernel's status of this process."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(one.split()[1]) * 1024 / 1e6 for one in status if one.startswith(line))


def in_own_process(name: str, arguments: Sequence[str]) -> float:
    """The peak of one, from a fresh interpreter."""
    done = subprocess.run([sys.executable, __file__, *arguments, "--case", name], check=True, capture_output=True)
    return round(float(done.stdout.splitlines()[-1]), 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--captions", nargs="+", choices=["web", "full"], default=["web", "full"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12, help="those that are counted; two come before")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--compile", action="store_true", help="torch.compile both")
    parser.add_argument("--peak", type=float, default=989.0, help="TFLOP/s of the GPU at this precision")
    parser.add_argument("--peak-of", nargs="*", default=["ours", "open_clip"], help="whose memory is measured")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if options.case:
        print(peak(options.case, options))
        return
    result: dict[str, Any] = {
        "model": options.model, "batch": options.batch, "precision": options.precision, "compile": options.compile,
        "steps": options.steps, "device": DEVICE.type, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "runs": [by_turns(options, captions) for captions in options.captions],
        "peak_mb": {name: in_own_process(name, sys.argv[1:]) for name in options.peak_of},
    }  # fmt: skip
    print(json.dumps(result) if options.json else table(result))


def table(result: dict[str, Any]) -> str:
    """For people."""
    lines = [", ".join(f"{name} {value}" for name, value in result.items() if name not in {"runs", "peak_mb"})]
    for run in result["runs"]:
        low, middle, high = run["open_clip_over_ours"]
        pairs = list(zip(*run["loss"].values(), strict=True))
        lines += [
            f"captions {run['captions']}, {run['tokens_a_caption']['ours']} tokens each on average",
            f"  seconds a step {run['seconds']}; open_clip takes {middle} times ours (quartiles {low} to {high})",
            f"  largest difference of vectors {run['largest_difference_of_vectors']}, of losses {run['largest_difference_of_loss']}",
            "  loss, ours and open_clip's: "
            + "  ".join(f"{a:.4f} {b:.4f}" for a, b in pairs[:: max(1, len(pairs) // 6)]),
            *([f"  model-FLOP utilisation {run['model_flop_share']}"] if "model_flop_share" in run else []),
        ]
    return "\n".join([*lines, f"peak memory in MB {result['peak_mb']}"])


if __name__ == "__main__":
    main()
