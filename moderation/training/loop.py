"""The training loop: one run from a TOML file, top to bottom, resumable at any saved step with the same next losses."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from moderation.errors import TrainingError
from moderation.training import checkpoint
from moderation.training.augment import Augment
from moderation.training.config import Config, read_config
from moderation.training.data import Order, Pictures, choose_captions, open_pictures
from moderation.training.loss import contrastive, targets
from moderation.training.tower import Average, ImageTower, learning_mode, load_tower


@dataclass(frozen=True, slots=True)
class Progress:
    """One step as it went; `pictures_per_second` counts the whole step."""

    step: int
    steps: int
    loss: float
    scale: float
    rate: float
    size: int
    pictures_per_second: float


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's pictures [n, 3, size, size], their texts' vectors [n, d], and which text belongs to which picture [n, n]."""

    pixels: Tensor
    texts: Tensor
    wanted: Tensor
    size: int


def train(config_path: Path, *, resume: bool = False, progress: Callable[[Progress], None] = lambda _: None) -> Path:
    """Train as the file says and return the last checkpoint's path; raises TrainingError where it cannot start or go on."""
    config = read_config(config_path)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures = open_pictures(config.data.folder)
    width = pictures.texts.shape[1]
    model = load_tower(config.model.tower, width=width, scale=config.loss.scale, frozen=config.model.frozen).to(device)
    average = Average(model, config.optimiser.average)
    optimiser = _optimiser(model, config)
    order = Order(pictures.weights, batch=config.batch, seed=config.seed)
    path = config.out / "checkpoint.safetensors"
    start = _restore(path, model, average, optimiser) if resume else 0
    if not resume and path.exists():
        raise TrainingError(f"{path}: a run is here already; resume it or choose another folder")

    for step in range(start, config.steps):
        began = time.perf_counter()
        learning_mode(model)
        given = batch(pictures, order, config, step, device)
        for group in optimiser.param_groups:
            group["lr"] = group["full_rate"] * config.rate_share(step)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.precision == "bf16"):
            vectors = model(given.pixels)
        loss = contrastive(
            vectors, given.texts, given.wanted, model.log_scale.exp().clamp(max=config.loss.largest_scale)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip)
        optimiser.step()
        average.update(model, step)
        if not torch.isfinite(loss):
            raise TrainingError(f"step {step}: the loss is {loss.item()}; the last good state is {path}")
        rate = config.batch / (time.perf_counter() - began)
        scale = model.log_scale.exp().item()
        progress(
            Progress(step + 1, config.steps, loss.item(), scale, optimiser.param_groups[0]["lr"], given.size, rate)
        )
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            _save(path, model, average, optimiser, step + 1)
    return path


def batch(pictures: Pictures, order: Order, config: Config, step: int, device: torch.device) -> Batch:
    """What `step` trains on: a pure function of the seed and the step."""
    rows = order.rows(step)
    rng = np.random.default_rng([config.seed, 1, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    texts = pictures.texts[torch.from_numpy(choose_captions(pictures, rows, rng, first=config.data.first_caption))]
    objects = torch.from_numpy(pictures.objects[rows])
    wanted = targets(objects, texts, neighbours=config.loss.neighbours, temperature=config.loss.temperature)
    size, strength = config.stage(step)
    photos = None
    if pictures.backgrounds is not None and config.data.photos:
        chosen = np.sort(rng.integers(len(pictures.backgrounds), size=config.data.photos))
        photos = torch.from_numpy(pictures.backgrounds[chosen]).permute(0, 3, 1, 2).float().div_(255.0)
    drawings = torch.from_numpy(pictures.pixels[pictures.picture[rows]])
    pixels = normalise(Augment(generator, strength)(drawings, size, photos))
    return Batch(pixels.to(device), texts.to(device), wanted.to(device), size)


def normalise(pixels: Tensor) -> Tensor:
    """0..1 to -1..1, the range the towers here are fed with, in the memory order that convolutions like."""
    return (pixels * 2.0 - 1.0).contiguous(memory_format=torch.channels_last)


def _optimiser(model: ImageTower, config: Config) -> torch.optim.AdamW:
    settings = config.optimiser
    groups: list[dict[str, object]] = []
    for parameters, rate in (
        (model.tower.parameters(), settings.tower_rate),
        ([model.projection.weight], settings.rate),
    ):
        learned = [p for p in parameters if p.requires_grad]
        groups.append({"params": [p for p in learned if p.ndim > 1], "lr": rate, "weight_decay": settings.weight_decay})
        groups.append({"params": [p for p in learned if p.ndim <= 1], "lr": rate, "weight_decay": 0.0})
    groups.append({"params": [model.log_scale], "lr": settings.rate, "weight_decay": 0.0})
    for group in groups:
        group["full_rate"] = group["lr"]
    return torch.optim.AdamW([group for group in groups if group["params"]], betas=(0.9, 0.98), eps=1e-6)


def _save(path: Path, model: ImageTower, average: Average, optimiser: torch.optim.AdamW, step: int) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in average.model.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in state.items()}
    checkpoint.save(path, {name: tensor.clone() for name, tensor in tensors.items()}, {"step": step})


def _restore(path: Path, model: ImageTower, average: Average, optimiser: torch.optim.AdamW) -> int:
    tensors, facts = checkpoint.load(path)

    def part(name: str) -> dict[str, Tensor]:
        return {key.removeprefix(name): tensor for key, tensor in tensors.items() if key.startswith(name)}

    try:
        model.load_state_dict(part("model."))
        average.model.load_state_dict(part("average."))
        whole = optimiser.state_dict()
        whole["state"] = {}
        for key, tensor in part("optimiser.").items():
            number, _, name = key.partition(".")
            whole["state"].setdefault(int(number), {})[name] = tensor
        optimiser.load_state_dict(whole)
    except (RuntimeError, ValueError) as error:
        raise TrainingError(f"{path}: does not fit this run's tower: {error}") from None
    return int(str(facts["step"]))
