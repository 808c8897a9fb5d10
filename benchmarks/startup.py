"""How long `import moderation` and `moderation --help` take beside an empty interpreter and an empty typer app, and the bundled encoder's first vector beside an import of torch.

Every round runs all of them in a fresh interpreter, one after another, so that a busy machine slows them alike; what is
reported is the median over the rounds of the ratio within each round.

    python benchmarks/startup.py [--rounds 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

EMPTY_APP = "import typer; app = typer.Typer(); app.command()(lambda: None); app()"
VECTOR = "from moderation.encoder.checkpoint import load; load('bundled', device='cpu').encode_text(['a cat'])"
COMMANDS = {
    "pass": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import moderation"],
    "empty_app": [sys.executable, "-c", EMPTY_APP, "--help"],
    "help": [sys.executable, "-m", "moderation", "--help"],
    "torch": [sys.executable, "-c", "import torch"],
    "vector": [sys.executable, "-c", VECTOR],
}
AIMS = {"import": ("pass", 3.0), "help": ("empty_app", 1.3), "vector": ("torch", 1.5)}


def seconds(command: list[str]) -> float:
    """Wall time of one run in a fresh interpreter."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure(rounds: int) -> dict[str, object]:
    """Median seconds of each command, and the median ratio of each aim, over interleaved rounds."""
    for command in COMMANDS.values():
        seconds(command)  # byte code is compiled once, outside the measure
    runs = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(rounds)]
    medians = {name: statistics.median(run[name] for run in runs) for name in COMMANDS}
    ratios = {}
    for name, (base, aim) in AIMS.items():
        ratio = statistics.median(run[name] / run[base] for run in runs)
        ratios[name] = {"beside": base, "ratio": round(ratio, 3), "aim": aim, "reached": ratio <= aim}
    return {"rounds": rounds, "median_ms": {n: round(1000 * s, 1) for n, s in medians.items()}, "ratios": ratios}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--json", action="store_true")
    options = arguments.parse_args()
    result = measure(options.rounds)
    if options.json:
        print(json.dumps(result))
        return
    for name, milliseconds in dict(result["median_ms"]).items():  # type: ignore[call-overload]
        print(f"{name:10} {milliseconds:8.1f} ms")
    for name, ratio in dict(result["ratios"]).items():  # type: ignore[call-overload]
        print(f"{name:10} {ratio['ratio']:.2f} times {ratio['beside']}, aim {ratio['aim']}")


if __name__ == "__main__":
    main()
