"""How much memory and time the contrastive loss takes over its features, plain against chunked, for growing batches.

Plain is the loss as one writes it with one matrix, open_clip's ClipLoss is the peer, chunked is ours. Every case runs in a
process of its own, forward and backward: the kernel's high-water mark of resident memory is reset when the features are
there and threads and libraries are warm, and what it rises by is the peak, whatever allocated it, the gradients of the
features included. The cases of a size run one after another in every round, so that a busy machine slows them alike; what
is reported is the largest peak and the median over the rounds of the time and of the ratio within each round. Losses and
gradients that differ from the plain ones are an error.

    python benchmarks/loss.py [--rows 1024 2048 4096 8192 32768] [--plain-up-to 8192] [--rounds 3] [--clock wall] [--json]

Needs Linux, for the high-water mark. On a machine that does other work, `--clock cpu` counts processor time on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from moderation.training.chunked import softmax_loss

SCALE = 50.0
WARM_ROWS = 64
AIM = {"rows": 32768, "peak_mb": 300.0}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """One matrix, both ways."""
    logits, own = scale * images @ texts.T, torch.arange(len(images))
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


def loss_called(name: str) -> Loss:
    """One of the three; open_clip is imported only where it is measured, so that its own memory counts nowhere else."""
    if name == "open_clip":
        from open_clip.loss import ClipLoss

        peer: Loss = ClipLoss()
        return peer
    return {"plain": plain_loss, "chunked": softmax_loss}[name]


def features(rows: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit rows, and texts that lie near their images, as in a model that has learned something; and the scale."""
    generator = torch.Generator().manual_seed(rows)
    images = functional.normalize(torch.randn(rows, width, generator=generator))
    texts = functional.normalize(images + 0.1 * torch.randn(rows, width, generator=generator))
    return images.requires_grad_(), texts.requires_grad_(), torch.tensor(SCALE, requires_grad=True)


def memory(line: str) -> float:
    """MB of a line of the kernel's status of this process."""
    for found in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if found.startswith(line):
            return int(found.split()[1]) * 1024 / 1e6
    raise SystemExit(f"the kernel says nothing of {line}")


def one_case(name: str, rows: int, width: int, clock: str) -> dict[str, float]:
    """Peak, time, loss and the size of the gradients of one loss, to be called once in a process."""
    if clock == "cpu":
        torch.set_num_threads(1)
    loss = loss_called(name)
    loss(*features(WARM_ROWS, width)).backward()
    images, texts, scale = features(rows, width)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # 5 resets the high-water mark
    before = memory("VmRSS")
    started = CLOCKS[clock]()
    value = loss(images, texts, scale)
    value.backward()
    seconds = CLOCKS[clock]() - started
    norms = {
        f"gradient_{at}": float(torch.linalg.vector_norm(leaf.grad)) for at, leaf in enumerate((images, texts, scale))
    }
    return {"peak_mb": memory("VmHWM") - before, "seconds": seconds, "loss": value.item(), **norms}


def in_own_process(name: str, rows: int, options: argparse.Namespace) -> dict[str, float]:
    """One case, from a fresh interpreter."""
    case = ["--case", name, "--rows", str(rows), "--width", str(options.width), "--clock", options.clock]
    done = subprocess.run([sys.executable, __file__, *case], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(runs: dict[str, dict[str, float]]) -> None:
    """Stops where a loss or a gradient is not the plain one."""
    for name, run in runs.items():
        for key in run.keys() - {"peak_mb", "seconds"}:
            ours, plain = run[key], runs.get("plain", run)[key]
            if not abs(ours - plain) <= 1e-4 * abs(plain) + 1e-6:
                raise SystemExit(f"{key} of {name} is {ours}, of plain {plain}")


def measure(rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """Every case of one size."""
    names = ["plain", "open_clip", "chunked"] if rows <= options.plain_up_to else ["chunked"]
    rounds = []
    for _ in range(options.rounds):
        rounds.append({name: in_own_process(name, rows, options) for name in names})
        compare(rounds[-1])
    found: dict[str, Any] = {"rows": rows, "features_mb": round(2 * rows * options.width * 4 / 1e6, 1)}
    for name in names:
        found[f"{name}_peak_mb"] = round(max(one[name]["peak_mb"] for one in rounds), 1)
        found[f"{name}_seconds"] = round(statistics.median(one[name]["seconds"] for one in rounds), 4)
    for name in names[:-1]:
        ratio = statistics.median(one["chunked"]["seconds"] / one[name]["seconds"] for one in rounds)
        found[f"chunked_times_{name}"] = round(ratio, 3)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1024, 2048, 4096, 8192, AIM["rows"]])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--plain-up-to", type=int, default=8192, help="the largest batch that gets a matrix")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(one_case(options.case, options.rows[0], options.width, options.clock)))
        return
    table = [measure(rows, options) for rows in options.rows]
    if options.json:
        print(json.dumps({"width": options.width, "clock": options.clock, "aim": AIM, "sizes": table}))
        return
    for line in table:
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in line.items()))
    print(f"aim: at most {AIM['peak_mb']:.0f} MB at {AIM['rows']} rows")


if __name__ == "__main__":
    main()
