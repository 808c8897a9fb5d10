"""JPEG bytes to vectors on a real tower, side by side: ours and peers, as servers and in a process, on the same weights, bytes and precision.

A CLIP ViT-B/32 with random weights, float32, JPEG files of 640 x 480 pixels. Over HTTP: `moderation serve`, Infinity's server, and LitServe and Ray Serve apps as
their documentation teaches, asked by 32 clients, each picture base64 in a JSON body and no body like another. In a process: ours, transformers' pipeline,
open_clip; and the limits, decoding alone and our tower alone. Vectors are compared before anything is timed. All take turns, round after round; medians are told.

    python benchmarks/encode_peers.py [--rounds 3] [--seconds 6] [--threads 1 2] [--only NAME...] [--json]

With several `--threads`, each is given the number of torch's threads with which it does best.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import transformers

from benchmarks.encode import BOUNDS, photographs, random_clip, write_checkpoint
from benchmarks.loops.serving.running import FOLDER, ROOT, Server, answer, running, variables

CLIENTS, LARGEST, FILES = 32, 16, 32
BOUND = BOUNDS["float32"]
AS_IMAGE = ('{"input": ["data:image/jpeg;base64,', '"], "modality": "image", "encoding_format": "base64"}')
OURS = ('{"model": "tower", "input": ["data:image/jpeg;base64,', AS_IMAGE[1])
SERVERS = (
    Server("ours", "", form=OURS),
    Server("infinity", "infinity_app", form=AS_IMAGE, environment="infinity"),
    Server("litserve", "litserve_app", environment="litserve"),
    Server("ray_serve", "ray_app", environment="ray", variables={"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}),
)
IN_PROCESS = {"ours": "", "pipeline": "", "open_clip": "open-clip", "decode": "", "tower": ""}  # and whose environment
HALVES = ("decode", "tower")


def there(environment: str) -> Path:
    """An environment's interpreter."""
    return FOLDER / environment / "bin" / "python" if environment else Path(sys.executable)


def prepare(folder: Path) -> list[str]:
    """The checkpoint, the settings and the files, in base64 without an end, so that more may follow; what follows a picture is not read."""
    write_checkpoint(random_clip(), folder / "clip")
    told = folder / "clip" / "tokenizer_config.json"  # the class as transformers 4 knows it, for Infinity
    told.write_text(json.dumps({**json.loads(told.read_text("utf-8")), "tokenizer_class": "PreTrainedTokenizerFast"}))
    (folder / "serve.toml").write_text(
        f"[encoders.default]\n[encoders.tower]\ncheckpoint = {json.dumps(str(folder / 'clip'))}\ndevice = 'cpu'\n[serve]\nport = {{port}}\n"
        f"locks = [{json.dumps(str(ROOT / 'policies' / 'fire.lock.json'))}]\nencoders = ['tower']\n",
        encoding="utf-8",
    )
    files = [base64.b64encode(one + bytes(-len(one) % 3)).decode() for one in photographs(FILES)]
    (folder / "files.json").write_text(json.dumps(files), encoding="utf-8")
    return files


@dataclass(slots=True)
class Bench:
    """What all are given, and by how much each one's vectors differ from the first's."""

    folder: Path
    files: Sequence[str]
    seconds: float
    differences: dict[str, float] = field(default_factory=dict)
    cosines: dict[str, float] = field(default_factory=dict)
    busy: dict[str, list[float]] = field(default_factory=dict)  # pictures a second of processor, in a process

    def one_round(self, names: Sequence[str], threads: int) -> dict[str, float]:
        """Pictures a second of each, its vectors compared with ours first."""
        rates: dict[str, float] = {}
        servers = {f"{one.name} over HTTP": one for one in SERVERS}
        known: Any = None
        for name in names:
            if name in servers:
                rates[name], vectors = self.over_http(servers[name], threads)
            else:
                rates[name], vectors = self.in_process(name, threads)
            print(f"{name}, {threads} threads: {rates[name]:.2f} pictures/s", file=sys.stderr)
            if vectors is None:
                continue
            known = vectors if known is None else known
            most = min(len(known), len(vectors))
            self.differences[name] = found = float(np.abs(vectors[:most] - known[:most]).max())
            norms = np.linalg.norm(vectors[:most], axis=1) * np.linalg.norm(known[:most], axis=1)
            self.cosines[name] = float(((vectors[:most] * known[:most]).sum(1) / norms).min())
            if not found <= BOUND:
                raise SystemExit(f"our vectors differ from those of {name} by {found:.1e}; expected at most {BOUND}")
        return rates

    def over_http(self, server: Server, threads: int) -> tuple[float, Any]:
        """Pictures a second, and the vectors of some; warmed up first."""
        server = replace(server, variables={**server.variables, "OMP_NUM_THREADS": str(threads)})
        forms = [(server.form[0] + one, server.form[1]) for one in self.files]
        told = {"checkpoint": str(self.folder / "clip"), "largest": LARGEST}
        with running(server, self.folder, forms, settings_file=self.folder / "serve.toml", **told) as place:
            vectors = np.stack([vector_of(answer(place.url, form)) for form in forms[:4]])
            place.drive(clients=CLIENTS, seconds=1.0, deadline=60)
            found = place.drive(clients=CLIENTS, seconds=self.seconds, deadline=60)
            if found["asked"] != found["in_time"]:
                raise SystemExit(
                    f"{server.name} answered {found['in_time']} of {found['asked']} requests; expected all of them"
                )
            return found["rate"], vectors

    def in_process(self, way: str, threads: int) -> tuple[float, Any]:
        """Pictures a second, and the vectors of all."""
        files = str(self.folder / "files.json")
        told = json.dumps({"checkpoint": str(self.folder / "clip"), "files": files, "seconds": self.seconds})
        done = subprocess.run(
            [there(IN_PROCESS[way]), "-m", "benchmarks.loops.serving.in_process", way],
            cwd=ROOT,
            env=variables(IN_PROCESS[way], {"OMP_NUM_THREADS": str(threads), "IN_PROCESS": told}),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        self.busy.setdefault(f"{way}, {threads} threads", []).append(round(found["busy_rate"], 2))
        return found["rate"], None if found["vectors"] is None else np.array(found["vectors"], np.float32)


def vector_of(told: Mapping[str, Any]) -> Any:
    """The vector in an answer: OpenAI's shape, in base64, or a plain list."""
    found = told["data"][0]["embedding"] if "data" in told else told["embedding"]
    return np.frombuffer(base64.b64decode(found), "<f4") if isinstance(found, str) else np.array(found, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    all_of = [*IN_PROCESS, *(f"{one.name} over HTTP" for one in SERVERS)]
    chosen = [one for one in all_of if not options.only or one in options.only]
    with tempfile.TemporaryDirectory() as name:
        load, bench = round(os.getloadavg()[0], 1), Bench(Path(name), prepare(Path(name)), options.seconds)
        rounds = [
            {threads: bench.one_round(chosen, threads) for threads in options.threads} for _ in range(options.rounds)
        ]
    found: dict[str, Any] = {"clients": CLIENTS, "rounds": options.rounds, "load_before": load}
    found["rates"] = {
        str(threads): {one: [round(row[threads][one], 2) for row in rounds] for one in chosen}
        for threads in options.threads
    }
    found["best"] = best(found["rates"])
    found["largest_difference"] = {one: float(f"{value:.1e}") for one, value in bench.differences.items()}
    found["least_cosine"] = {one: round(value, 7) for one, value in bench.cosines.items()}
    found["rate_of_a_busy_core"] = {one: statistics.median(values) for one, values in bench.busy.items()}
    found["load_after"] = round(os.getloadavg()[0], 1)
    print(json.dumps(found) if options.json else table(found))


def best(rates: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, Any]]:
    """Of each, the median rate under the threads with which it does best."""
    names = next(iter(rates.values()))
    made = {}
    for name in names:
        medians = {threads: statistics.median(row[name]) for threads, row in rates.items()}
        threads = max(medians, key=lambda one: medians[one])
        made[name] = {"rate": medians[threads], "threads": int(threads)}
    return made


def table(found: Mapping[str, Any]) -> str:
    """For people: each as a share of ours of its kind, and ours as a share of what is possible."""
    rows = found["best"]
    lines = [f"{'':24}{'pictures/s':>12}{'threads':>9}{'ours / it':>11}"]
    limit = min((rows[one]["rate"] for one in HALVES if one in rows), default=None)
    for name, row in rows.items():
        mine = rows.get("ours over HTTP" if name.endswith("HTTP") else "ours")
        ratio = "" if mine is None or name in HALVES else f"{mine['rate'] / row['rate']:.2f}"
        lines.append(f"{name:24}{row['rate']:12.1f}{row['threads']:9}{ratio:>11}")
    if limit:
        shares = ", ".join(
            f"{one} {rows[one]['rate'] / limit:.2f}" for one in ("ours", "ours over HTTP") if one in rows
        )
        lines.append(f"share of the slower half alone (aim >= 0.9): {shares}")
    lines += [
        f"pictures a second of processor time, in a process: {found['rate_of_a_busy_core']}",
        f"largest difference of vectors from ours {found['largest_difference']}, least cosine {found['least_cosine']}",
        f"{found['rounds']} rounds, load {found['load_before']} to {found['load_after']}; each round {found['rates']}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
