"""OpenAI's moderation endpoint as two detectors, `openai` on texts and `openai-pictures` on pictures: categories are labels, scores are scores.

What the endpoint did not say is never a score of 0: where it answered nothing at all, the detector fails, and rests after a few such
batches; where it answered some parts, the others abstain.
"""

from __future__ import annotations

import base64
import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from moderation import Abstention, DetectionBatch, Modality, Part, Score, hookimpl
from moderation.detector.base import Detection
from moderation.detector.faults import kind_of
from moderation.detector.names import is_revision
from moderation.errors import ItemError, PluginError

KEY = "OPENAI_API_KEY"
PICTURE_LABELS = ("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic")
LABELS = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    *PICTURE_LABELS[:4],
    "sexual/minors",
    *PICTURE_LABELS[4:],
)


@dataclass(frozen=True, slots=True)
class Settings:
    """`timeout_seconds` is for a batch, all tries together; `at_once` requests are under way, each of so many texts, or of one picture.

    `base_url`, where it is not "", takes the place of OpenAI's.
    """

    model: str = "omni-moderation-latest"
    base_url: str = ""
    timeout_seconds: float = 8.0
    at_once: int = 4
    texts: int = 32


class Moderations:
    """What both detectors do. A client is made when they are set up, with the key of the environment."""

    id: ClassVar[str]
    labels: ClassVar[tuple[str, ...]]
    modalities: ClassVar[frozenset[Modality]]
    kind: ClassVar[str]  # of input, as the endpoint calls it
    needs_embeddings = False

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.revision = ""  # the model that answered last, by its own name: a model is replaced without a word
        self._client: Any = None

    def setup(self) -> None:
        """Raises where there is no key. Nothing is asked: a host that is away for a moment ends no start."""
        import openai

        if not os.environ.get(KEY):
            raise RuntimeError(f"the environment has no {KEY}")
        logging.getLogger("openai").setLevel(
            logging.INFO
        )  # below that its older versions write requests, content and all
        # Tries are made here, within one deadline; the client's own would wait for as long as a server asks.
        self._client = openai.OpenAI(base_url=self.settings.base_url or None, max_retries=0)

    def close(self) -> None:
        """Let the connections go."""
        if self._client:
            self._client.close()

    def detect(self, batch: DetectionBatch) -> list[Detection]:
        """Scores of what was answered. Raises the last fault where nothing was."""
        deadline = time.monotonic() + self.settings.timeout_seconds
        groups = self._groups(batch.parts)
        if not groups:
            return []
        with ThreadPoolExecutor(self.settings.at_once) as pool:
            told = [one for answers in pool.map(lambda group: self._judge(group, deadline), groups) for one in answers]
        faults = [one for one in told if isinstance(one, Exception)]
        if faults and len(faults) == len(told):
            raise faults[-1]
        return [Abstention("not_answered", cause=kind_of(one)) if isinstance(one, Exception) else one for one in told]

    def _groups(self, parts: Sequence[Part]) -> list[Sequence[Part]]:
        """Of parts that are asked about together."""
        raise NotImplementedError

    def _input(self, group: Sequence[Part]) -> Any:
        raise NotImplementedError

    def _judge(self, group: Sequence[Part], deadline: float) -> list[Detection | Exception]:
        """What is said of each part, or why nothing is; where a group is refused, its parts are asked about one by one."""
        import openai

        try:
            answer = self._tried(lambda seconds: self._ask(group, seconds), deadline)
            self.revision = answer.model if is_revision(answer.model) else ""
            return [self._scores(one, answer.model) for one in _results(answer, len(group))]
        except ItemError as error:
            return [Abstention(error.reason, cause=error.cause)]
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if len(group) == 1:
                return [Abstention("refused", cause=kind_of(error))]
            return [one for part in group for one in self._judge([part], deadline)]
        except Exception as error:  # noqa: BLE001 - whatever came of it, these parts were not judged, and the others were
            return [error] * len(group)

    def _ask(self, group: Sequence[Part], seconds: float) -> Any:
        return self._client.moderations.create(
            input=self._input(group), model=self.settings.model, timeout=max(0.001, seconds)
        )

    def _tried(self, ask: Callable[[float], Any], deadline: float) -> Any:
        """Its answer, asked again after faults that may pass, as long as there is time. Raises the last fault."""
        import openai

        for attempt in range(100):
            left = deadline - time.monotonic()
            try:
                return ask(left)
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                pause = _asked_to_wait(error) or random.uniform(0.5, 1.0) * 0.25 * 2 ** min(attempt, 5)
                if pause >= deadline - time.monotonic():
                    raise
                time.sleep(pause)
        raise TimeoutError

    def _scores(self, result: Any, model: str) -> Detection:
        """A score for every label. Raises LookupError where the endpoint gives none, or gives one that it did not make for this kind of input: those are all 0."""
        given = result.category_scores.model_dump(by_alias=True)
        applied = result.category_applied_input_types.model_dump(by_alias=True)
        for label in self.labels:
            if given.get(label) is None or self.kind not in (applied.get(label) or ()):
                raise LookupError(label)
        return tuple(Score(label, given[label], concept=model) for label in self.labels)


class Texts(Moderations):
    """Texts, many in a request."""

    id = "openai"
    labels = LABELS
    modalities = frozenset({Modality.TEXT})
    kind = "text"

    def _groups(self, parts: Sequence[Part]) -> list[Sequence[Part]]:
        size = self.settings.texts
        return [parts[at : at + size] for at in range(0, len(parts), size)]

    def _input(self, group: Sequence[Part]) -> list[str]:
        return [part.content.decode() for part in group]


class Pictures(Moderations):
    """Pictures, one in a request, since several inputs that are no plain texts have one answer together; under the categories that are made for pictures."""

    id = "openai-pictures"
    labels = PICTURE_LABELS
    modalities = frozenset({Modality.IMAGE})
    kind = "image"

    def _groups(self, parts: Sequence[Part]) -> list[Sequence[Part]]:
        return [[part] for part in parts]

    def _input(self, group: Sequence[Part]) -> list[dict[str, Any]]:
        """As a data URL; raises ItemError for what is no picture, or is too large."""
        from moderation.encoder.images import check
        from moderation.settings import ImageLimits

        (part,) = group
        form = check(part.content, ImageLimits()).format.lower()
        url = f"data:image/{form};base64,{base64.b64encode(part.content).decode()}"
        return [{"type": "image_url", "image_url": {"url": url}}]


@hookimpl
def register_detectors(registry):
    known = {one.name: one for one in fields(Settings)}
    for name, value in registry.settings.items():
        if name not in known:
            raise PluginError(registry.plugin, f"its settings have {name}; expected any of {', '.join(known)}")
        kind = type(known[name].default)
        if type(value) not in {kind, int if kind is float else kind} or (kind is not str and value <= 0):
            above = "" if kind is str else " above 0"
            raise PluginError(registry.plugin, f"settings: {name} is {value!r}; expected {kind.__name__}{above}")
    settings = Settings(**registry.settings)
    registry.add(Texts(settings))
    registry.add(Pictures(settings))


def _results(answer: Any, length: int) -> Sequence[Any]:
    """One for each part; raises LookupError where it is not so, for then nobody knows which is whose."""
    if len(answer.results) != length:
        raise LookupError("results")
    return answer.results


def _asked_to_wait(error: Any) -> float:
    """Seconds, by the header of an answer; 0 where it asks for nothing that can be understood."""
    response = getattr(error, "response", None)
    try:
        return max(0.0, float(response.headers.get("retry-after", 0))) if response is not None else 0.0
    except ValueError:
        return 0.0
