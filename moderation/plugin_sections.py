"""The sections of the settings about what judges and reads: detectors, readers, heads of third parties, plugins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from moderation.sections import RunnerSettings, Seconds, Section


class DetectorSettings(RunnerSettings):
    """How detectors run."""


class TileSettings(Section):
    """What the built-in reader `tiles` cuts: tiles of at least `side` pixels a side, what an encoder reads, and `most` of a picture at most."""

    side: Annotated[int, Field(gt=0)] = 96
    most: Annotated[int, Field(gt=0)] = 64


class ReaderSettings(RunnerSettings):
    """Which readers are in force (`use`, none by default), how they run, and how much they may derive: `most_parts` each from what it is shown.

    What all of them derive from one part of an item, and from that in turn, is `most_together` at most, of `most_bytes`, as many as a
    video's file may have. A reader that has a process of its own answers a whole batch with `most_batch_bytes` at most (`most_bytes`, where that
    is more). `tiles` is about the built-in reader.
    """

    use: tuple[str, ...] = ()
    timeout_seconds: Seconds = 30.0
    most_parts: Annotated[int, Field(gt=0)] = 64
    most_together: Annotated[int, Field(gt=0)] = 1024
    most_bytes: Annotated[int, Field(gt=0)] = 100_000_000
    most_batch_bytes: Annotated[int, Field(gt=0)] = 1_000_000_000
    tiles: TileSettings = TileSettings()

    @model_validator(mode="after")
    def _tiles_are_parts(self) -> ReaderSettings:
        if "tiles" in self.use and self.tiles.most > self.most_parts:
            raise ValueError(
                f"tiles.most: {self.tiles.most} is over most_parts, {self.most_parts}; expected at most that"
            )
        return self


class HeadSettings(Section):
    """A third party's head over an encoder's vectors, by the id of the detector that it becomes.

    `encoder` is the card's name, or the identity, of the encoder it was trained on; `array` and `bias` name arrays of the file,
    `risky` the row of the prompt that counts; `span` (low, high) takes the place of the sigmoid.
    """

    kind: Literal["linear", "prompts"]
    path: str
    encoder: str
    label: str = ""
    modalities: Annotated[tuple[Literal["image", "text"], ...], Field(min_length=1)] = ("image",)
    array: str = ""
    bias: str = ""
    span: tuple[float, float] | None = None
    risky: int = 1
    scale: Annotated[float, Field(gt=0)] = 100.0

    @model_validator(mode="after")
    def _spans(self) -> HeadSettings:
        if self.span and self.span[0] == self.span[1]:
            raise ValueError("span: expected two different numbers")
        return self


class PluginSettings(Section):
    """Which installed plugins are used: all of them where `only` is absent.

    Those that `isolated` names (`*`: all) run in processes of their own, each of `isolated_memory_bytes` of address space (0: no limit).
    Setting up one of a plugin's detectors, or starting such a process, may take `setup_seconds`. `settings` holds a section for each
    plugin by id, which that plugin alone understands.
    """

    only: tuple[str, ...] | None = None
    isolated: tuple[str, ...] = ()
    isolated_memory_bytes: Annotated[int, Field(ge=0)] = 0
    setup_seconds: Seconds = 120.0
    settings: Mapping[str, Mapping[str, Any]] = {}
