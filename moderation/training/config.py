"""The TOML file of a training run: every number a run depends on, checked before anything starts."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moderation.errors import TrainingError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(_Section):
    """From `step` on, pictures of `size` pixels, augmentation rising to `strength` over `ramp` steps."""

    step: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=16)]
    strength: Share
    ramp: Annotated[int, Field(ge=0)] = 0


class Data(_Section):
    """What is trained on."""

    folder: Path
    first_caption: Share = 0.5
    photos: Annotated[int, Field(ge=0)] = 64


class Model(_Section):
    """The image tower to start from: a folder in Hugging Face's layout; its first `frozen` parts stay as they are."""

    tower: Path
    frozen: tuple[str, ...] = ()


class Loss(_Section):
    """The contrastive loss: scale as learned but bounded, and how much mass neighbouring texts share."""

    scale: Positive = 20.0
    largest_scale: Positive = 60.0
    neighbours: Share = 0.2
    temperature: Positive = 0.1


class Optimiser(_Section):
    """AdamW; the rate warms up, stays, and falls in a straight line to zero over the last `cool_down` steps."""

    rate: Positive = 1e-3
    tower_rate: Positive = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warm_up: Annotated[int, Field(ge=0)] = 100
    cool_down: Annotated[int, Field(ge=0)] = 500
    clip: Positive = 2.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998


class Config(_Section):
    """One training run."""

    out: Path
    seed: int = 1
    steps: Count
    batch: Annotated[int, Field(ge=2)]
    save_every: Count = 200
    threads: Annotated[int, Field(ge=0)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    data: Data
    model: Model
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _stages_in_order(self) -> Config:
        starts = [stage.step for stage in self.stages]
        if starts[0] != 0 or starts != sorted(set(starts)):
            raise ValueError(f"stages start at steps {starts}; expected 0 first, then rising")
        return self

    def stage(self, step: int) -> tuple[int, float]:
        """(size in pixels, augmentation strength) at `step`."""
        now = max(i for i, stage in enumerate(self.stages) if stage.step <= step)
        stage = self.stages[now]
        before = self.stages[now - 1].strength if now else 0.0
        done = min(1.0, (step - stage.step) / stage.ramp) if stage.ramp else 1.0
        return stage.size, before + (stage.strength - before) * done

    def rate_share(self, step: int) -> float:
        """What share of the full learning rate `step` gets."""
        rising = min(1.0, (step + 1) / self.optimiser.warm_up) if self.optimiser.warm_up else 1.0
        falling = min(1.0, (self.steps - step) / self.optimiser.cool_down) if self.optimiser.cool_down else 1.0
        return rising * falling


def read_config(path: Path) -> Config:
    """The run described by the TOML file at `path`, its paths taken from where the file stands; raises TrainingError."""
    try:
        found = Config.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; expected the TOML file of a training run") from None
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"{path}: not TOML: {error}") from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise TrainingError("\n".join(lines)) from None
    base = path.resolve().parent
    return found.model_copy(
        update={
            "out": base / found.out,
            "data": found.data.model_copy(update={"folder": base / found.data.folder}),
            "model": found.model.model_copy(update={"tower": base / found.model.tower}),
        }
    )
