"""The TOML file of a training run: every number a run depends on, checked before anything starts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from moderation.errors import TrainingError
from moderation.meant import did_you_mean
from moderation.training.chunked import CHUNK
from moderation.training.model_config import DualModel, TextScratch
from moderation.training.section import Count, Positive, Section, Share


class Optimiser(Section):
    """AdamW; the rate warms up, stays, and falls in a straight line to zero over the last `cool_down` steps.

    `tower_rate` is for what was trained before, `rate` for new projections and the scale. `average` is the decay of the
    running average of the weights, which is what is evaluated and shipped; 0 keeps none.
    """

    rate: Positive = 1e-3
    tower_rate: Positive = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warm_up: Annotated[int, Field(ge=0)] = 100
    cool_down: Annotated[int, Field(ge=0)] = 500
    clip: Positive = 2.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998


class Run(Section):
    """What every training run says. `batch` is of all ranks together; `threads` 0 is torch's own choice."""

    out: Path
    seed: int = 1
    steps: Count
    batch: Annotated[int, Field(ge=2)]
    save_every: Count = 200
    threads: Annotated[int, Field(ge=0)] = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    optimiser: Optimiser = Optimiser()

    def rate_share(self, step: int) -> float:
        """What share of the full learning rate `step` gets."""
        rising = min(1.0, (step + 1) / self.optimiser.warm_up) if self.optimiser.warm_up else 1.0
        falling = min(1.0, (self.steps - step) / self.optimiser.cool_down) if self.optimiser.cool_down else 1.0
        return rising * falling

    def facts(self) -> dict[str, Any]:
        """What may not change between a run and its resumption: not where it lies, what it runs on, or what no weight depends on."""
        return self.model_dump(mode="json", exclude={"out", "save_every", "threads", "valid", "shard"})

    def remarks(self) -> Sequence[str]:
        """What a person should know of it, though it may be meant."""
        rates = self.optimiser
        if rates.warm_up + rates.cool_down <= self.steps:
            return ()
        return (
            f"the rate never reaches its full value: warm_up {rates.warm_up} and cool_down {rates.cool_down} are more than {self.steps} steps",
        )

    def placed(self, base: Path) -> Run:
        """The run with its paths taken from `base`."""
        return self.model_copy(update={"out": base / self.out})


class Stage(Section):
    """From `step` on, pictures of `size` pixels, augmentation rising to `strength` over `ramp` steps."""

    step: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=16)]
    strength: Share
    ramp: Annotated[int, Field(ge=0)] = 0


class DrawingData(Section):
    """A folder that a recipe prepared: drawings, and vectors of their captions."""

    folder: Path
    first_caption: Share = 0.5
    photos: Annotated[int, Field(ge=0)] = 64


class TowerModel(Section):
    """The image tower to start from: a folder in Hugging Face's layout; its first `frozen` parts stay as they are."""

    tower: Path
    frozen: tuple[str, ...] = ()


class NeighbourLoss(Section):
    """The contrastive loss: scale as learned but bounded, and how much mass neighbouring texts share."""

    scale: Positive = 20.0
    largest_scale: Positive = 60.0
    neighbours: Share = 0.2
    temperature: Positive = 0.1


class DrawingRun(Run):
    """An image tower learns a fixed text space from drawings, as the bundled encoder did."""

    task: Literal["drawings"]
    data: DrawingData
    model: TowerModel
    loss: NeighbourLoss = NeighbourLoss()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _stages_in_order(self) -> DrawingRun:
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

    def placed(self, base: Path) -> DrawingRun:
        """The run with its paths taken from `base`."""
        return self.model_copy(
            update={
                "out": base / self.out,
                "data": self.data.model_copy(update={"folder": base / self.data.folder}),
                "model": self.model.model_copy(update={"tower": base / self.model.tower}),
            }
        )


class PairData(Section):
    """Pictures with captions: tar shards, JSONL or CSV manifests, datasets on disk; `*` in a name stands for many.

    A training picture is a random crop of at least `smallest_crop` of the area, mirrored where `mirror` allows it (words
    and sides do not survive that). Of a dataset on disk, `split` is read. `loaders` threads read ahead.
    """

    pairs: Annotated[tuple[Path, ...], Field(min_length=1)]
    smallest_crop: Annotated[float, Field(gt=0, le=1)] = 0.9
    mirror: bool = False
    split: str = "train"
    loaders: Count = 2


class PairLoss(Section):
    """CLIP's softmax or SigLIP's sigmoid over the batch of all ranks; scale and bias are learned, starting from a new model's.

    The loss is made in chunks of `chunk` rows. With `sub_batch`, towers see so many pairs at a time and gradients are cached,
    so that a batch may be larger than memory. `teacher` is a checkpoint whose similarities the model also learns, at
    `teacher_share` of the loss.
    """

    kind: Literal["softmax", "sigmoid"] = "softmax"
    scale: Positive = 14.2857
    largest_scale: Positive = 100.0
    bias: float = -10.0
    chunk: Count = CHUNK
    sub_batch: Annotated[int, Field(ge=0)] = 0
    teacher: str | None = None
    teacher_share: Share = 0.5


class Valid(Section):
    """Pictures with captions that retrieval is measured on after each `every` steps and the last, at most `most` of them."""

    pairs: Annotated[tuple[Path, ...], Field(min_length=1)]
    every: Count = 200
    most: Annotated[int, Field(ge=2)] = 1000
    split: str = "validation"


def _share_or_best(value: Any) -> Any:
    if value != "best" and not (type(value) in (int, float) and 0 <= value <= 1):
        raise ValueError(f"found {value!r}; expected a share from 0 to 1, or 'best'")
    return value


KeepStart = Annotated[float | Literal["best"], BeforeValidator(_share_or_best)]


class PairRun(Run):
    """Both towers learn from pictures with captions.

    `keep_start` is WiSE-FT: the share of the weights before training in what is exported; "best" tries 0, a quarter, a half, three
    quarters and 1, and takes what retrieves best on `valid`, so that there the export never does worse than the start. `shard` spreads weights, gradients
    and moments over the ranks (FSDP2) instead of keeping all of them on each (DDP); one process has nothing to spread.
    """

    task: Literal["pairs"] = "pairs"
    data: PairData
    model: DualModel
    loss: PairLoss = PairLoss()
    valid: Valid | None = None
    keep_start: KeepStart = 0.0
    shard: bool = False

    @model_validator(mode="after")
    def _what_shard_allows(self) -> PairRun:
        if self.shard and self.model.compile:
            raise ValueError("expected either shard or model.compile: what is spread runs layer by layer")
        if self.shard and self.valid:
            raise ValueError("expected either shard or valid: one rank measures, and has a part of the weights only")
        return self

    @model_validator(mode="after")
    def _best_on_what(self) -> PairRun:
        if self.keep_start == "best" and self.valid is None:
            raise ValueError("keep_start 'best' wants a valid section to choose by")
        return self

    def placed(self, base: Path) -> PairRun:
        """The run with its paths taken from `base`; what names no folder there is a checkpoint known by another name."""
        pairs = tuple(base / one for one in self.data.pairs)
        references = {name: _placed(getattr(self.model, name), base) for name in ("start", "image", "text")}
        valid = self.valid and self.valid.model_copy(update={"pairs": tuple(base / one for one in self.valid.pairs)})
        return self.model_copy(
            update={
                "out": base / self.out,
                "data": self.data.model_copy(update={"pairs": pairs}),
                "model": self.model.model_copy(update=references),
                "loss": self.loss.model_copy(update={"teacher": _placed(self.loss.teacher, base)}),
                "valid": valid,
            }
        )


def _placed(reference: Any, base: Path) -> Any:
    if isinstance(reference, TextScratch):
        return reference.model_copy(update={"tokenizer": _placed(reference.tokenizer, base)})
    if isinstance(reference, str) and (base / reference).is_dir():
        return str(base / reference)
    return reference


_RUNS: Mapping[str, type[Run]] = {"drawings": DrawingRun, "pairs": PairRun}


def read_config(path: Path) -> Run:
    """The run described by the TOML file at `path`, its paths taken from where the file stands; raises TrainingError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file; expected the TOML file of a training run") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path}: not TOML: {error}") from None
    kind = _RUNS.get(str(values.get("task", "pairs")))
    if kind is None:
        raise TrainingError(f"{path}: task {values['task']!r}; expected one of {', '.join(_RUNS)}")
    try:
        return kind.model_validate(values).placed(path.resolve().parent)
    except ValidationError as error:
        raise TrainingError("\n".join(f"{path}: {_told(one, kind)}" for one in error.errors())) from None


def read_drawing_run(path: Path) -> DrawingRun:
    """As `read_config`, of a run whose task is drawings."""
    run = read_config(path)
    if not isinstance(run, DrawingRun):
        raise TrainingError(f"{path}: task 'pairs'; expected 'drawings'")
    return run


def _told(error: Mapping[str, Any], kind: type[BaseModel]) -> str:
    """Where a value is wrong, and for a key that nobody knows, the one that was probably meant."""
    keys = [str(key) for key in error["loc"]]
    place = ".".join(keys) or "file"
    if error["type"] == "missing":
        return f"{place}: is required, and not there"
    if error["type"] != "extra_forbidden":
        return f"{place}: {error['msg']}"
    return f"{place}: no such key{did_you_mean(keys[-1], _names(kind), listed=False)}"


def _names(model: type[BaseModel]) -> list[str]:
    """Every key that a file of this kind may hold, of all its sections."""
    schema = model.model_json_schema()
    return sorted(
        {*schema["properties"], *(key for one in schema["$defs"].values() for key in one.get("properties", ()))}
    )
